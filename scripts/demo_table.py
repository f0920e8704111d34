"""Prints the demo's table from `shoal ps --json` (standard input) and the timings that `shoal run --verbose` wrote (argument)."""

import json
import re
import sys

instance = json.load(sys.stdin)[0]
timings = open(sys.argv[1], encoding="utf-8").read()
rates = re.findall(r"([0-9.]+) tok/s", timings)
prefill, decode = (rates + ["?", "?"])[:2]

rows = [("node", "layers", "MiB", "load s", "weight bytes from network", "bytes/token on boundary")]
for stage in instance["stages"]:
    layers = stage["layers"]
    tokens = stage["boundaryTokenCount"]
    rows.append(
        (
            stage["nodeName"],
            f"{layers['first']}-{layers['end'] - 1}",
            f"{stage['weightBytes'] / 2**20:.1f}",
            f"{stage['loadSeconds']:.2f}",
            str(stage["weightBytesReceived"]),
            f"{stage['boundaryBytesSent'] / tokens:.0f}" if tokens else "-",
        )
    )
widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
for row in rows:
    print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
print(f"prompt {prefill} tok/s, decode {decode} tok/s, one thread per node")

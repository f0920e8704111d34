"""From samples to tables: medians, ratios within rounds, and the figures that Shoal means to reach."""
import json
import os
import statistics

MIB = 1 << 20


class Samples:
    def __init__(self, samples):
        self.samples = samples

    def values(self, system, link, workload, key):
        """Per round, the median of that round's samples."""
        rounds = {}
        for sample in self.samples:
            if (sample["system"], sample["link"], sample["workload"]) == (system, link, workload):
                if sample.get(key) is not None:
                    rounds.setdefault(sample["round"], []).append(sample[key])
        return {number: statistics.median(found) for number, found in rounds.items()}

    def median(self, system, link, workload, key="rate"):
        values = self.values(system, link, workload, key).values()
        return statistics.median(values) if values else None

    def ratio(self, over, under, key="rate"):
        """Median of the ratios within rounds; `over` and `under` are (system, link, workload)."""
        tops, bottoms = self.values(*over, key), self.values(*under, key)
        ratios = [tops[number] / bottoms[number] for number in tops if bottoms.get(number)]
        return statistics.median(ratios) if ratios else None

    def last(self, system, link, workload, key):
        found = [s[key] for s in self.samples
                 if (s["system"], s["link"], s["workload"]) == (system, link, workload) and key in s]
        return found[-1] if found else None

    def pairs(self):
        seen = []
        for sample in self.samples:
            if sample["system"] != "raw" and (sample["system"], sample["link"]) not in seen:
                seen.append((sample["system"], sample["link"]))
        order = ["loopback", "0.5 ms", "5 ms", "20 ms"]
        return sorted(seen, key=lambda pair: (order.index(pair[1]) if pair[1] in order else 9, pair[0]))


def targets(samples):
    """(what, wanted in words, bound, whether more is better, measured)."""
    rows = []
    two, rpc, one = "shoal, 2 stages", "rpc, 2 workers", "server, 1 thread"
    raw = ("raw", "loopback", "raw")

    def add(what, wanted, bound, measured, more=True):
        rows.append({"what": what, "wanted": wanted, "bound": bound, "more": more, "measured": measured})

    for count, bound in ((2, 0.95), (3, 0.92), (4, 0.92)):
        add(f"one stream, {count} stages, loopback, against raw libllama", f"at least {bound}x", bound,
            samples.ratio((f"shoal, {count} stages", "loopback", "one"), raw))
    add("one stream, 2 stages, loopback, against stock RPC", "at least 1.15x", 1.15,
        samples.ratio((two, "loopback", "one"), (rpc, "loopback", "one")))
    own = own_cost(samples)
    add("Shoal's own cost per token, 2 stages, loopback, one stream", "under 1 ms", 1.0, own, more=False)
    for link, bound in (("5 ms", 1.9), ("20 ms", 1.8)):
        add(f"one stream over {link}, against stock RPC", f"at least {bound}x", bound,
            samples.ratio((two, link, "one"), (rpc, link, "one")))
    add("eight streams, loopback, against stock RPC", "at least 2.3x", 2.3,
        samples.ratio((two, "loopback", "eight"), (rpc, "loopback", "eight")))
    add("eight streams, loopback, against one server with two threads", "at least 1.3x", 1.3,
        samples.ratio((two, "loopback", "eight"), ("server, 2 threads", "loopback", "eight")))
    add("eight streams, loopback: the busier stage computes", "at least 0.95 of the time", 0.95, busiest(samples))
    for link in ("5 ms", "20 ms"):
        add(f"eight streams over {link}, against stock RPC", "at least 4x", 4.0,
            samples.ratio((two, link, "eight"), (rpc, link, "eight")))
    for count in (2, 3, 4):
        add(f"2k-token prompt, {count} stages, against one server with one thread", "at least 1.7x", 1.7,
            samples.ratio((f"shoal, {count} stages", "loopback", "long"), (one, "loopback", "long")))
    add("loading over 5 ms, stock RPC against the same programs under Shoal", "at least 5x as long", 5.0,
        samples.ratio((rpc, "5 ms", "load"), ("shoal rpc, 2 workers", "5 ms", "load"), "seconds"))
    add("loading over 5 ms, stock RPC against Shoal", "at least 15x as long", 15.0,
        samples.ratio((rpc, "5 ms", "load"), (two, "5 ms", "load"), "seconds"))
    add("loading over 5 ms, against the unsplit load", "at most 1.3x", 1.3,
        samples.ratio((two, "5 ms", "load"), (one, "loopback", "load"), "seconds"), more=False)
    add("n-gram speculation, repetitive text, 20 ms, against none", "at least 2.5x", 2.5,
        samples.median(two, "20 ms", "speculation", "gain"))
    add("a draft model that is the same file, 20 ms, against none", "", None,
        samples.median("shoal draft, 2 stages", "20 ms", "draft", "gain"))
    return rows + memory_targets(samples)


def own_cost(samples):
    """Milliseconds per token that are neither compute nor link: what the trace of the same requests says."""
    return samples.median("shoal, 2 stages", "loopback", "one", "own_milliseconds")


def busiest(samples):
    """Share of the time in which the busier engine computed; median over the measurements."""
    shares = [max(share for name, share in s["busy"].items() if name.endswith(".engine")) for s in samples.samples
              if (s["system"], s["link"], s["workload"]) == ("shoal, 2 stages", "loopback", "eight")]
    return statistics.median(shares) if shares else None


def memory_targets(samples):
    memory = samples.last("shoal, 2 stages", "loopback", "load", "memory")
    facts = samples.last("shoal, 2 stages", "loopback", "load", "facts")
    if not memory or not facts:
        return []
    rows = []
    for index, stage in enumerate(facts["stages"]):
        used = memory[f"n{index}"] + memory[f"n{index}.engine"]
        over = (used - stage["weight_bytes"] - stage["cache_bytes"]) / MIB
        rows.append({
            "what": f"memory of node n{index} above its weights and KV cache", "wanted": "at most 150 MiB",
            "bound": 150.0, "more": False, "measured": over})
    gateway = memory.get(f"n{len(facts['stages'])}")
    if gateway:
        rows.append({
            "what": "memory of a node that only serves the gateway", "wanted": "under 100 MiB", "bound": 100.0,
            "more": False, "measured": gateway / MIB})
    return rows


def is_reached(row):
    if row["measured"] is None or row["bound"] is None:
        return None
    return row["measured"] >= row["bound"] if row["more"] else row["measured"] <= row["bound"]


def shown(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def markdown(result):
    samples = Samples(result["samples"])
    machine = result["machine"]
    load = ", ".join(f"{result[key][0]:.1f}" for key in ("load_average_before", "load_average_after"))
    lines = [
        f"# Benchmark of {result['date']}", "",
        f"Commit {result['commit']}; {result['model']}; {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory']}, {machine['system']}; load average before and after: {load}; "
        f"{result['seconds'] / 60:.1f} minutes" + ("; quick" if result["quick"] else "") + ".", "",
        "One thread per worker or stage; decode rates in tokens per second, medians over the rounds. How it is measured: "
        "[docs/benchmarks.md](../benchmarks.md).", ""]
    lines += measured_table(samples) + [""] + target_table(samples)
    lines += ["", "Where a token's time goes, one stream, milliseconds (`shoal trace`):", ""] + trace_table(samples)
    holes = [s for s in result["samples"] if s["workload"] == "failed"]
    if holes:
        lines += ["", "Not measured:", ""]
        lines += [f"- {s['system']}, {s['link']}, round {s['round'] + 1}: {s['reason']}" for s in holes]
    return "\n".join(lines) + "\n"


def measured_table(samples):
    rows = [["raw libllama, 1 thread", "", "", shown(samples.median("raw", "loopback", "raw"), 1), "", "", "", ""]]
    for system, link in samples.pairs():
        rows.append([
            system, link, shown(samples.median(system, link, "load", "seconds")),
            shown(samples.median(system, link, "one"), 1), shown(samples.median(system, link, "eight"), 1),
            shown(samples.median(system, link, "long"), 0),
            shown(scaled(samples.median(system, link, "one", "first_token_seconds"), 1000), 0),
            megabytes(samples.last(system, link, "load", "memory"))])
    return table(
        ["system", "link", "load, s", "one stream", "eight streams", "2k prompt, tok/s", "first token, ms",
         "memory, MiB"], rows)


def trace_table(samples):
    """Means over the requests of each system: what the missed figures have to be explained with."""
    columns = [("elapsed", "token"), ("compute", "compute"), ("own", "own cost"), ("wire", "links"),
               ("handOver", "node to engine and back"), ("queue", "engine queue"), ("sample", "sample"),
               ("head", "head")]
    rows = []
    for system, link in samples.pairs():
        traces = [s["trace"] for s in samples.samples
                  if (s["system"], s["link"]) == (system, link) and s.get("trace")]
        if traces:
            means = [statistics.median(trace[name] for trace in traces) for name, _ in columns]
            rows.append([system, link] + [shown(mean) for mean in means])
    return table(["system", "link"] + [title for _, title in columns], rows)


def scaled(value, factor):
    return None if value is None else value * factor


def megabytes(memory):
    if not memory:
        return ""
    nodes = {}
    for name, count in memory.items():
        nodes[name.split(".")[0]] = nodes.get(name.split(".")[0], 0) + count
    return ", ".join(f"{name} {count / MIB:.0f}" for name, count in nodes.items())


def target_table(samples):
    rows = []
    for row in targets(samples):
        reached = is_reached(row)
        verdict = {True: "reached", False: "**missed**", None: "" if row["bound"] is None else "not measured"}[reached]
        rows.append([row["what"], row["wanted"], shown(row["measured"]), verdict])
    return table(["figure", "wanted", "measured", ""], rows)


def write(result, folder):
    """The report on standard output, and as JSON and Markdown in `folder`."""
    result["targets"] = targets(Samples(result["samples"]))
    text = markdown(result)
    print(text)
    os.makedirs(folder, exist_ok=True)
    stem = os.path.join(folder, result["date"][:10] + ("-quick" if result["quick"] else ""))
    with open(stem + ".json", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1, sort_keys=True)
        file.write("\n")
    with open(stem + ".md", "w", encoding="utf-8") as file:
        file.write(text)

#!/usr/bin/env python3
"""make bench: Shoal beside llama.cpp, same file, same threads, same links, interleaved in one run.

    bench.py --prefix ENGINE_PREFIX --shoal PATH --model GGUF --output FOLDER [--quick] [--rounds N] [--only TEXT]

Every round measures every system once, odd rounds in reverse order. A ratio is taken within a round and its median
over the rounds is reported, so that a machine that is busy for a while does not favour anybody. Timings are reported,
never asserted. Standard library only; Linux (it reads /proc).
"""
import argparse
import dataclasses
import datetime
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time

import report
import systems

WORDS = (
    "the old harbour town lies below a hill of pines where fishermen mend their nets and children count the boats "
    "that come home before dark while a clock in the tower tells every hour with one slow bell and nobody remembers "
    "who built it or why its hands were painted blue but travellers who stay for winter learn that wind from north "
    "brings snow and letters from islands whose names are written on no map except one that hangs in a small museum "
    "beside a broken compass three shells a wooden whale and the diary of a captain who never learned to swim").split()


@dataclasses.dataclass(frozen=True)
class Link:
    name: str
    delay: float = 0.0
    rate: float = 0.0

    @property
    def is_loopback(self):
        return self.delay == 0 and self.rate == 0


LOOPBACK = Link("loopback")
LINKS = [LOOPBACK] + [Link(f"{delay:g} ms", delay, 15.0) for delay in (0.5, 5.0, 20.0)]


@dataclasses.dataclass
class Settings:
    prefix: str
    shoal: str
    model: str
    folder: str
    banned: tuple
    output_layers: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """One system on one link, and what is asked of it."""
    system: str
    link: Link
    workloads: tuple


def schedule(quick, round_index):
    """Long prompts take longest and vary least, so they are not asked in every round."""
    short, long_too = ("one", "eight"), ("one", "eight", "long")
    everything = long_too if round_index == 0 or quick else short
    plans = [Plan("raw", LOOPBACK, ("raw",))]
    plans += [Plan("server, 1 thread", LOOPBACK, long_too if round_index < 2 else short)]
    if not quick:
        plans += [Plan("server, 2 threads", LOOPBACK, everything)]
    plans += [Plan("rpc, 2 workers", LOOPBACK, everything)]
    plans += [Plan("shoal, 2 stages", LOOPBACK, long_too if round_index < 2 else short)]
    plans += [Plan("raw", LOOPBACK, ("raw",))]
    if not quick:
        plans += [Plan(f"shoal, {count} stages", LOOPBACK, everything) for count in (3, 4)]
        plans += [Plan("shoal, 1 stage", LOOPBACK, short)]
        if round_index == 0:
            plans += [Plan("rpc, 4 workers", LOOPBACK, long_too)]
    plans += [Plan("raw", LOOPBACK, ("raw",))]
    for link in LINKS[1:]:
        if quick and link.delay != 5 or round_index > 0 and link.delay < 1:
            continue
        asked = everything if link.delay == 5 and not quick else short
        plans += [Plan("rpc, 2 workers", link, asked), Plan("shoal, 2 stages", link, asked + ("speculation",))]
        if link.delay == 5:
            plans += [Plan("shoal rpc, 2 workers", link, ("one",))]
        if link.delay == 20 and not quick:
            plans += [Plan("shoal draft, 2 stages", link, ("one", "draft"))]
    return plans if round_index % 2 == 0 else plans[::-1]


def make(plan, settings):
    kind, _, rest = plan.system.partition(", ")
    count = int(rest.split()[0]) if rest else 0
    if kind == "server":
        return systems.LlamaServer("server", plan.link, settings, threads=count)
    if kind == "rpc":
        return systems.LlamaServer("rpc", plan.link, settings, worker_count=count)
    if kind == "shoal rpc":
        return systems.Shoal("shoal-rpc", plan.link, settings, stage_count=count, further_nodes=1, engine="rpc")
    if kind == "shoal draft":
        # The same file: as right as can be, and no quicker. What a smaller one gains depends on how often it is right.
        return systems.Shoal("shoal-draft", plan.link, settings, stage_count=count, draft=settings.model)
    # On loopback, one node more: it computes nothing, and shows what a gateway costs.
    further = 1 if plan.link.is_loopback and count == 2 else 0
    return systems.Shoal("shoal", plan.link, settings, stage_count=count, further_nodes=further)


def prompt(seed, word_count):
    """Differs from its first word on, so that nobody can reuse a prefix."""
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(word_count))


def raw(settings, quick):
    """Raw libllama: llama-bench, one thread, from an empty context."""
    command = [
        os.path.join(settings.prefix, "bin", "llama-bench"), "-m", settings.model, "-t", "1", "-p", "0", "-n",
        "32" if quick else "64", "-r", "2", "-o", "json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout)
    return {"rate": next(row["avg_ts"] for row in result if row["n_gen"] > 0)}


class Measurement:
    """One system that runs."""

    def __init__(self, system, seed, quick):
        self.system, self.seed, self.quick = system, seed, quick

    def one(self):
        answer, = self.system.ask([prompt(f"one {self.seed}", 24)], 32 if self.quick else 64)
        trace = self.system.trace()
        return {
            "rate": answer.decode_rate, "first_token_seconds": answer.first_token_seconds,
            "token_count": answer.token_count, "trace": trace, "own_milliseconds": trace.get("own")}

    def eight(self):
        prompts = [prompt(f"eight {self.seed} {index}", 24) for index in range(8)]
        before, started_at = self.system.cpu_seconds(), time.monotonic()
        answers = self.system.ask(prompts, 32 if self.quick else 64)
        elapsed = time.monotonic() - started_at
        after = self.system.cpu_seconds()
        # While all eight are being answered: prompts are another row.
        begin, end = max(a.first_at for a in answers), min(a.last_at for a in answers)
        if end <= begin:
            raise RuntimeError("the eight answers did not overlap")
        tokens = sum(begin < at <= end for a in answers for at in a.arrivals)
        return {
            "rate": tokens / (end - begin), "whole_rate": sum(a.token_count for a in answers) / elapsed,
            "token_count": tokens,
            "busy": {name: (after[name] - before[name]) / elapsed for name in after}}

    def long(self):
        answer, = self.system.ask([prompt(f"long {self.seed}", 600 if self.quick else 1900)], 4)
        return {
            "rate": answer.prompt_token_count / answer.first_token_seconds,
            "prompt_token_count": answer.prompt_token_count, "first_token_seconds": answer.first_token_seconds}

    def speculation(self):
        """Repetitive text, with and without guessing from what was said already."""
        if not self.system.has_speculation:
            return None
        # A sentence that the reference model does go on repeating; random words it does not.
        name = random.Random(f"repeat {self.seed}").choice(["Anna", "Maria", "Peter", "Thomas"])
        text = f"{name} opened the small museum and painted the clock. " * 16
        return self.guessed(text, "ngram")

    def guessed(self, text, mode):
        """One text without and with guesses of a kind."""
        plain, = self.system.ask([text], 64)
        guessed, = self.system.ask([text], 64, speculate=mode)
        return {
            "rate": guessed.decode_rate, "plain_rate": plain.decode_rate,
            "gain": guessed.decode_rate / plain.decode_rate, "same_text": guessed.text == plain.text}

    def draft(self):
        """Text that repeats nothing, with and without a draft model's guesses."""
        place = random.Random(f"draft {self.seed}").choice(WORDS)
        text = f"Once upon a time there was a girl who lived near the {place}. One day, she"
        return self.guessed(text, "draft")


# Machines change their pace within seconds: several of what takes no longer, of which medians are taken.
LOOPBACK_REPEATS = {"one": 3, "eight": 2}
LINK_REPEATS = {"eight": 2}


def measure(plan, settings, seed, quick):
    """What one system did, as (workload, row): one for loading it, one or some for each workload."""
    if plan.system == "raw":
        return [("raw", raw(settings, quick))]
    system = make(plan, settings)
    try:
        load = {"seconds": system.start(), "network_byte_count": system.network_byte_count()}
        rows = [("load", load)]
        system.ask([prompt(f"warm {seed}", 8)], 4)
        repeats = LOOPBACK_REPEATS if plan.link.is_loopback else LINK_REPEATS
        for workload in plan.workloads:
            for index in range(1 if quick else repeats.get(workload, 1)):
                before = system.network_byte_count()
                # Prompts of their own, which share no prefix with the ones before.
                row = getattr(Measurement(system, f"{seed}.{index}", quick), workload)()
                if row:
                    row["network_byte_count"] = system.network_byte_count() - before
                    rows.append((workload, row))
                    # A token's activations, whoever splits the model, are more than a kilobyte.
                    if (workload == "one" and not plan.link.is_loopback
                            and row["network_byte_count"] < 1000 * row["token_count"]):
                        raise RuntimeError(
                            f"{plan.system}: {row['network_byte_count']} bytes crossed the emulated link")
        load["memory"] = system.memory()
        load["facts"] = system.facts()
        return rows
    finally:
        system.stop()


def machine():
    def first(path, key):
        try:
            with open(path, encoding="utf-8") as lines:
                return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(key))
        except (OSError, StopIteration):
            return "unknown"

    return {
        "processor": first("/proc/cpuinfo", "model name"), "cores": os.cpu_count(),
        "memory": first("/proc/meminfo", "MemTotal"), "system": f"{platform.system()} {platform.release()}"}


def commit():
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        name = subprocess.run(
            ["git", "-C", here, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True).stdout
        dirty = subprocess.run(
            ["git", "-C", here, "status", "--porcelain", "--untracked-files=no"], check=True, capture_output=True).stdout
        return name.strip() + ("+changes" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("prefix", "shoal", "model", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="three minutes: one round, fewer systems")
    parser.add_argument("--only", default="", help="measure only systems whose name and link hold this text")
    parser.add_argument("--banned", default="0,2", help="tokens that would end an answer early")
    parser.add_argument("--output-layers", type=int, default=0, help="layers that the output matrix counts as")
    return parser.parse_args()


def main():
    options = arguments()
    folder = tempfile.mkdtemp(prefix="shoal-bench-")
    settings = Settings(
        options.prefix, options.shoal, options.model, folder,
        tuple(int(token) for token in options.banned.split(",") if token), options.output_layers)
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "commit": commit(),
        "machine": machine(), "model": os.path.basename(options.model), "quick": options.quick,
        "load_average_before": os.getloadavg(), "samples": []}
    rounds = options.rounds or (1 if options.quick else 3)
    started_at = time.monotonic()
    failures = 0
    try:
        for round_index in range(rounds):
            for plan in schedule(options.quick, round_index):
                if options.only not in f"{plan.system} {plan.link.name}":
                    continue
                print(f"{time.monotonic() - started_at:6.0f} s  round {round_index + 1}/{rounds}  "
                      f"{plan.system}, {plan.link.name}", file=sys.stderr, flush=True)
                try:
                    rows = measure(plan, settings, f"{round_index}", options.quick)
                except (RuntimeError, OSError, ValueError, StopIteration) as error:
                    # A system that fails is a hole in the table, with its reason; the others are still measured.
                    failures += 1
                    rows = [("failed", {"reason": str(error)})]
                    print(f"          failed: {error}", file=sys.stderr)
                for workload, values in rows:
                    result["samples"].append(
                        {"round": round_index, "system": plan.system, "link": plan.link.name,
                         "workload": workload, **values})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result["seconds"] = time.monotonic() - started_at
    result["load_average_after"] = os.getloadavg()
    report.write(result, options.output)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

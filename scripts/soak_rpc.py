"""llama.cpp's own programs under continuous requests, with 1, 2, 3 and 4 workers side by side, and what came of it.

Usage: soak_rpc.py SHOAL MODEL MINUTES SEED [WORKER_COUNT...]. For each number of workers a cluster of one node more,
all on this machine, all at the same time. Nobody is killed here: what dies or hangs does so by itself, and is counted
with its cause (llama.cpp's issue 28487 reports a deadlock of three and more workers). A request alone must give the
text of the first such answer; of several at once and of those that a client leaves, the ones that end must be whole.
It ends with a code that is not zero when an answer is wrong, when nothing is answered for `ANSWERLESS_SECONDS_MAX`, or
when anything outlives its node.
"""

import collections
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile
import threading
import time

from soak import Node, free_ports, say, until

# The longest without any answer, and the longest that one request may take; the watchdog's 15 s and a launch are in it.
ANSWERLESS_SECONDS_MAX = 120
READY_SECONDS_MAX = 300
LAYER_COUNT = 30
TOKEN_COUNT = 48
# What its text is compared by: one sequence, with nothing reused.
ALONE = {"temperature": 0, "max_tokens": TOKEN_COUNT, "cache_prompt": False}
LONG = "The sea is deep and the night is long. " * 40
PROMPTS = ["Once upon a time", "The capital of France is", "def fibonacci(n):", LONG + "In the end"]
# What the log of the head says when requests fail, by what brought them down.
CAUSES = {"watchdog": "no token progress", "frozen": "is frozen", "stalled launch": "made no progress"}


def layers(node_count):
    """Equal parts, as in a=0-14,b=15-29."""
    cuts = [LAYER_COUNT * index // node_count for index in range(node_count + 1)]
    return ",".join(f"{'abcde'[index]}={cuts[index]}-{cuts[index + 1] - 1}" for index in range(node_count))


class Soak:
    def __init__(self, worker_count, shoal, model, seed):
        self.worker_count, self.model, self.random = worker_count, model, random.Random(seed * 10 + worker_count)
        self.name = pathlib.Path(model).stem
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"shoal-soak-{worker_count}-"))
        count = worker_count + 1
        ports = free_ports(2 * count)
        key = "".join(self.random.choice("0123456789abcdef") for _ in range(64))
        self.nodes = [
            Node("abcde"[index], ports[index], ports[count + index], [ports[count]] if index else [],
                 self.folder / "abcde"[index], shoal, key, ["--discovery", "off", "--debug-recovery"])
            for index in range(count)
        ]
        self.counts = collections.Counter()
        self.causes = collections.Counter()
        self.violations = []
        self.expected = {}
        self.slowest = 0.0
        self.answered_at = time.monotonic()
        self.lock = threading.Lock()

    def say(self, text):
        say(f"{self.worker_count} workers: {text}")

    def violate(self, text):
        with self.lock:
            self.violations.append(text)
        self.say(f"VIOLATION: {text}")

    # MARK: Requests

    def complete(self, prompt, node, stream=False, leave_after=None, **more):
        """("ok", text, finish_reason), ("left", text, None) or ("error", cause, None). Counts what it did."""
        body = {"model": self.name, "prompt": prompt, "stream": stream, **ALONE, **more}
        begin = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", node.api, timeout=ANSWERLESS_SECONDS_MAX)
        try:
            connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            outcome = self.read(answer, stream, leave_after)
            again = answer.getheader("x-shoal-attempts") == "2"
        except TimeoutError:
            self.violate(f"a request took more than {ANSWERLESS_SECONDS_MAX} s")
            outcome, again = ("error", "no answer", None), False
        except (OSError, http.client.HTTPException, ValueError) as error:
            outcome, again = ("error", f"the connection broke: {error!r}", None), False
        finally:
            connection.close()
        with self.lock:
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.counts["requests"] += 1
            self.counts["streamed" if stream else "not streamed"] += 1
            self.counts[{"ok": "answered", "left": "left by the client", "error": "failed"}[outcome[0]]] += 1
            self.counts["answered by the second try"] += again and outcome[0] == "ok"
            if outcome[0] == "error":
                self.causes[re.sub(r"[0-9]+", "#", outcome[1])[:200]] += 1
            else:
                self.answered_at = time.monotonic()
        return outcome

    def read(self, answer, stream, leave_after):
        if not stream or answer.status != 200:
            found = json.loads(answer.read())
            if answer.status != 200:
                return "error", f"{answer.status}: {found['error']['message']}", None
            return "ok", found["choices"][0]["text"], found["choices"][0]["finish_reason"]
        text, reason, count = "", None, 0
        for line in answer:
            if line.strip() == b"data: [DONE]":
                return "ok", text, reason
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                return "error", event["error"]["message"], None
            for choice in event["choices"]:
                text += choice["text"]
                reason = choice["finish_reason"] or reason
            count += 1
            if count == leave_after:
                return "left", text, None
        return "error", "the stream ended without an end", None

    def check(self, prompt, outcome, is_alone):
        kind, text, reason = outcome
        if kind != "ok":
            return
        if reason not in ("stop", "length") or not text:
            return self.violate(f"{prompt[:30]!r}: finish_reason {reason}, text {text!r}")
        if text == self.expected[prompt]:
            return
        # Sums depend on what is computed together.
        self.counts["alone, in other words" if is_alone else "together, in other words"] += 1
        if is_alone:
            self.violate(f"{prompt[:30]!r} was answered {text!r} instead of {self.expected[prompt]!r}")

    def alone(self):
        prompt, node = self.random.choice(PROMPTS), self.random.choice(self.nodes)
        self.check(prompt, self.complete(prompt, node, stream=self.random.random() < 0.5), is_alone=True)

    def together(self):
        jobs = [(self.random.choice(PROMPTS), self.random.choice(self.nodes), self.random.random() < 0.5)
                for _ in range(self.random.randint(2, 4))]
        threads = [
            threading.Thread(target=lambda job=job: self.check(
                job[0], self.complete(job[0], job[1], stream=job[2], cache_prompt=True), is_alone=False))
            for job in jobs
        ]
        self.counts["several at once"] += 1
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    def leave(self):
        """Leaves the answer in the middle, or before it has begun to come."""
        node = self.random.choice(self.nodes)
        self.complete(self.random.choice(PROMPTS), node, stream=True, leave_after=self.random.randint(1, 20),
                      max_tokens=400)
        until(f"nothing is computed any more with {self.worker_count} workers", ANSWERLESS_SECONDS_MAX, self.is_idle)

    def is_idle(self):
        status, slots = self.nodes[0].call("GET", f"/slots?model={self.name}")
        return status == 200 and not any(each["is_processing"] for each in slots)

    # MARK: The run

    def instance(self):
        return self.nodes[0].call("GET", "/shoal/v1/instances")[1][0]

    def begin(self):
        count = len(self.nodes)
        for node in self.nodes:
            until(f"{node.name} sees {count} nodes", 60,
                  lambda: sum(each.get("memoryAvailable") is not None
                              for each in node.call("GET", "/shoal/v1/nodes")[1]) == count)
        status, answer = self.nodes[0].call(
            "POST", "/shoal/v1/instances",
            {"model": self.model, "layers": layers(count), "engine": "rpc", "contextTokenCount": 1024,
             "sequenceCountMax": 4})
        assert status < 300, answer
        until("the model is ready", READY_SECONDS_MAX, lambda: self.instance()["phase"] == "ready")
        for prompt in PROMPTS:
            kind, text, _ = self.complete(prompt, self.nodes[0])
            assert kind == "ok" and text, text
            self.expected[prompt] = text
        self.say(f"ready; first answers: {[text[:24] for text in self.expected.values()]}")

    def run(self, minutes):
        try:
            self.begin()
            self.counts.clear()
            resident = self.resident()
            self.answered_at = time.monotonic()
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                self.random.choice([self.alone, self.alone, self.together, self.leave])()
                if time.monotonic() - self.answered_at > ANSWERLESS_SECONDS_MAX:
                    return self.violate(f"no answer for {ANSWERLESS_SECONDS_MAX} s; {self.state()}")
            # Whatever was before, now it answers.
            for prompt in PROMPTS:
                outcome = self.complete(prompt, self.nodes[-1])
                if outcome[0] != "ok":
                    self.violate(f"in the end {prompt[:30]!r} was answered {outcome}")
                self.check(prompt, outcome, is_alone=True)
            self.say(f"resident MiB per node at the beginning {resident}, at the end {self.resident()}; "
                     f"descriptors {[node.descriptor_count() for node in self.nodes]}")
        except Exception as error:  # Whatever it is, it is a finding, and the nodes are ended.
            self.violate(f"{error!r}; {self.state()}")

    def resident(self):
        return [node.resident_mib() for node in self.nodes]

    def state(self):
        try:
            found = self.instance()
            return f"the instance is {found['phase']}: {found.get('problem')}"
        except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
            return f"the head's node says nothing: {error!r}"

    def finish(self):
        children = self.children()
        try:
            found = self.instance()
            self.counts["llama-server restarts"] = found["generation"] - 1
            self.counts["worker restarts"] = sum(
                each["restartCount"] for each in found["stages"] if each.get("worker") is not None)
        except (OSError, http.client.HTTPException, ValueError, LookupError):
            self.violate(self.state())
        for node in self.nodes:
            if node.process.poll() is not None:
                self.violate(f"node {node.name} ended by itself with {node.process.returncode}")
            node.process.terminate()
        for node in self.nodes:
            try:
                node.process.wait(20)
            except Exception:
                self.violate(f"node {node.name} did not end within 20 s of SIGTERM")
                node.process.kill()
                node.process.wait()
        time.sleep(1)
        left = [child for child in children if os.path.exists(f"/proc/{child}")]
        if left:
            self.violate(f"processes {left} outlived their nodes")
        self.read_logs()

    def children(self):
        parents = {node.process.pid for node in self.nodes}
        found = []
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = open(f"/proc/{process}/stat").read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) in parents:
                found.append(int(process))
        return found

    def read_logs(self):
        """What brought a running instance down, from the log of its head."""
        for line in open(self.folder / "a" / "node.log", errors="replace"):
            if "requests failed" not in line or "the instance was stopped" in line:
                continue
            cause = next((name for name, words in CAUSES.items() if words in line), "death")
            self.counts[f"recoveries, {cause}"] += 1
            self.say(line.strip()[:400])

    def summary(self):
        print(f"\n{self.worker_count} workers, layers {layers(self.worker_count + 1)}")
        always = ["requests", "answered", "failed", "recoveries, watchdog", "llama-server restarts", "worker restarts"]
        for kind in dict.fromkeys(always + sorted(self.counts)):
            print(f"  {self.counts[kind]:6}  {kind}")
        for cause, count in self.causes.most_common(8):
            print(f"  {count:6}  failed: {cause}")
        print(f"  slowest request: {self.slowest:.1f} s")
        for violation in self.violations:
            print(f"  VIOLATION: {violation}")
        if self.violations:
            print(f"  logs are in {self.folder}")
        else:
            shutil.rmtree(self.folder)


def main():
    shoal, model, minutes, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    worker_counts = [int(each) for each in sys.argv[5:]] or [1, 2, 3, 4]
    say(f"SOAK_SEED={seed} MINUTES={minutes:g} workers {worker_counts}")
    soaks = [Soak(count, shoal, model, seed) for count in worker_counts]
    threads = [threading.Thread(target=each.run, args=(minutes,)) for each in soaks]
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        for each in soaks:
            each.finish()
    print(f"\nsummary of SOAK_SEED={seed} MINUTES={minutes:g}")
    for each in soaks:
        each.summary()
    if any(each.violations for each in soaks):
        sys.exit(1)
    print("nothing was violated")


if __name__ == "__main__":
    main()

"""Random requests and random kills against three real nodes, and what came of it.

Usage: soak.py SHOAL MODEL MINUTES SEED. Every answer is whole, or ends with an error that says why; what the model is
sure of comes out right; nothing may hang; at the end the model answers, and nothing is left of what was killed. Other
answers may differ from those given in peace, which is counted: sums depend on how requests are batched. The seed fixes who does what to whom in which order; when it happens depends on the machine.
"""

import collections
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

# The longest that a request may take, recovery included.
REQUEST_SECONDS_MAX = 120
# From a kill to an instance that is ready again, load included.
RECOVERY_SECONDS_MAX = 90
CLIENT_COUNT = 4
QUESTIONS = [
    "What is the capital of France?",
    "Count from one to twenty.",
    "Tell me a very long story.",
    "Write a poem about the sea.",
]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def say(text):
    print(f"{time.monotonic() - BEGIN:7.1f} s  {text}", flush=True)


BEGIN = time.monotonic()


class Node:
    def __init__(self, name, api, link, peers, folder, shoal, key, arguments=()):
        self.name, self.api, self.folder = name, api, folder
        self.command = [shoal, "serve", "--name", name, "--data", str(folder), "--api", f"127.0.0.1:{api}"]
        self.command += ["--link", f"127.0.0.1:{link}", "--threads", "1", "--cluster-key", key]
        for peer in peers:
            self.command += ["--peer", f"127.0.0.1:{peer}"]
        self.command += arguments
        self.start_count = 0
        self.process = None
        self.start()

    def start(self):
        self.start_count += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "node.log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def call(self, method, path, body=None, timeout=30):
        connection = http.client.HTTPConnection("127.0.0.1", self.api, timeout=timeout)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def resident_mib(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) // 1024
        return 0

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def until(what, seconds, condition):
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
            last = error
        time.sleep(0.1)
    raise TimeoutError(f"waited {seconds} s in vain until {what} ({last})")


class Soak:
    def __init__(self, shoal, model, seed):
        self.random = random.Random(seed)
        self.model = model
        self.name = pathlib.Path(model).stem
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="shoal-soak-"))
        ports = free_ports(6)
        key = "".join(self.random.choice("0123456789abcdef") for _ in range(64))
        self.nodes = [
            Node(name, ports[index], ports[3 + index], [p for p in ports[3:] if p != ports[3 + index]],
                 self.folder / name, shoal, key)
            for index, name in enumerate("abc")
        ]
        self.expected = {}
        self.results = collections.Counter()
        self.violations = []
        self.slowest = 0.0
        self.recoveries = []
        self.reasons = collections.Counter()
        self.engines_seen = set()
        self.lock = threading.Lock()
        self.is_over = threading.Event()

    def note(self, kind, violation=None):
        with self.lock:
            self.results[kind] += 1
            if violation:
                self.violations.append(violation)
                say(f"VIOLATION: {violation}")

    # MARK: Requests

    def body(self, question, **more):
        messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": question}]
        return {"model": self.name, "messages": messages, "temperature": 0, "max_tokens": 64, **more}

    def chat(self, node, question):
        status, answer = node.call("POST", "/v1/chat/completions", self.body(question), REQUEST_SECONDS_MAX)
        return status, answer["choices"][0]["message"]["content"] if status == 200 else answer["error"]["message"]

    def stream(self, node, question, leave_after):
        """Returns ("ok" or "error" or "left", text)."""
        connection = http.client.HTTPConnection("127.0.0.1", node.api, timeout=REQUEST_SECONDS_MAX)
        text, count = "", 0
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(self.body(question, stream=True)),
                               {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                return "error", json.loads(answer.read())["error"]["message"]
            for line in answer:
                if not line.startswith(b"data: "):
                    continue
                if line.strip() == b"data: [DONE]":
                    return "ok", text
                event = json.loads(line[6:])
                if "error" in event:
                    return "error", event["error"]["message"]
                for choice in event["choices"]:
                    text += choice["delta"].get("content") or ""
                count += 1
                if count == leave_after:
                    return "left", text
            return "cut", text
        finally:
            connection.close()

    def client(self, seed):
        dice = random.Random(seed)
        while not self.is_over.is_set():
            node, question = dice.choice(self.nodes), dice.choice(QUESTIONS)
            leave_after = dice.choice([None, None, None, dice.randint(1, 30)])
            begin = time.monotonic()
            try:
                if dice.random() < 0.1:
                    status, _ = node.call("POST", "/v1/chat/completions", {"model": "nobody", "messages": 7})
                    self.note("nonsense refused" if status in (400, 404) else f"nonsense got {status}")
                elif dice.random() < 0.5:
                    status, text = self.chat(node, question)
                    self.judge("ok" if status == 200 else "error", text, question)
                else:
                    self.judge(*self.stream(node, question, leave_after), question)
            except TimeoutError:
                self.note("hung", f"a request to node {node.name} took more than {REQUEST_SECONDS_MAX} s")
            except (OSError, http.client.HTTPException, ValueError):
                # The node that it was sent to was killed.
                self.note("node was away")
                self.is_over.wait(0.2)
            self.slowest = max(self.slowest, time.monotonic() - begin)

    @staticmethod
    def makes_sense(question, text):
        return "Paris" in text if "France" in question else len(text.split()) > 5

    def judge(self, outcome, text, question):
        expected = self.expected[question]
        if outcome == "ok" and not self.makes_sense(question, text):
            self.note("wrong text", f"{question!r} was answered {text!r} instead of {expected!r}")
        elif outcome == "ok" and text != expected:
            self.note("answered in other words")
        elif outcome == "error":
            with self.lock:
                self.reasons[re.sub(r"[0-9a-f]{16,}|[0-9]+", "#", text)[:160]] += 1
            self.note("refused with a reason" if len(text) > 10 else "refused without a reason",
                      None if len(text) > 10 else f"an error said {text!r}")
            self.is_over.wait(0.2)
        else:
            self.note({"ok": "answered", "left": "left by the client", "cut": "cut with its node"}[outcome])

    # MARK: Misfortunes

    def instances(self):
        for node in self.nodes:
            try:
                status, found = node.call("GET", "/shoal/v1/instances")
                if status == 200:
                    return found
            except (OSError, http.client.HTTPException, ValueError):
                continue
        return []

    def ready(self):
        return any(each["phase"] == "ready" for each in self.instances())

    def load(self):
        """Unless it runs: loads the model over all three nodes."""
        alive = [each for each in self.instances() if each["phase"] not in ("failed", "stopped")]
        if alive:
            return
        for each in self.instances():
            self.nodes[0].call("DELETE", f"/shoal/v1/instances/{each['id']}")
        layers = "a=0-9,b=10-19,c=20-29"
        status, answer = self.nodes[0].call("POST", "/shoal/v1/instances", {"model": self.model, "layers": layers})
        if status >= 300:
            say(f"load was refused: {answer['error']['message']}")

    def engines(self):
        found = []
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = open(f"/proc/{process}/stat").read().rsplit(")", 1)[1].split()
                command = open(f"/proc/{process}/cmdline", "rb").read()
            except OSError:
                continue
            if fields[0] != "Z" and b"shoal-engine" in command:
                found.append((int(process), int(fields[1])))
        return found

    def misfortune(self):
        node = self.random.choice(self.nodes)
        own = [engine for engine, parent in self.engines() if parent == node.process.pid]
        kind = self.random.choice(["kill engine", "kill engine", "crash engine", "stop engine", "kill node", "end node",
                                   "freeze node"])
        say(f"{kind} of {node.name}" if "engine" in kind else f"{kind} {node.name}")
        self.note(kind)
        if "engine" in kind:
            number = {"kill engine": signal.SIGKILL, "crash engine": signal.SIGSEGV, "stop engine": signal.SIGSTOP}[kind]
            for engine in own[:1]:
                os.kill(engine, number)
            return
        if kind == "freeze node":
            node.process.send_signal(signal.SIGSTOP)
            time.sleep(self.random.uniform(0.2, 9))
            node.process.send_signal(signal.SIGCONT)
            return
        node.process.send_signal(signal.SIGKILL if kind == "kill node" else signal.SIGTERM)
        try:
            node.process.wait(15)
        except subprocess.TimeoutExpired:
            self.note("node would not end", f"node {node.name} did not end within 15 s of SIGTERM")
            node.process.kill()
            node.process.wait()
        time.sleep(self.random.uniform(0, 5))
        node.start()

    def recover(self):
        begin = time.monotonic()
        end = begin + RECOVERY_SECONDS_MAX
        while time.monotonic() < end:
            parents = {node.process.pid for node in self.nodes}
            self.engines_seen |= {engine for engine, parent in self.engines() if parent in parents}
            for node in self.nodes:
                if node.process.poll() is not None:
                    self.note("node died", f"node {node.name} ended by itself with {node.process.returncode}")
                    node.start()
            try:
                if self.ready() and self.chat(self.nodes[0], QUESTIONS[0])[0] == 200:
                    self.recoveries.append(time.monotonic() - begin)
                    return
                self.load()
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                pass
            time.sleep(0.3)
        phases = [(each["phase"], each.get("problem")) for each in self.instances()]
        self.note("not recovered", f"no answer within {RECOVERY_SECONDS_MAX} s; instances: {phases}")

    # MARK: The run

    def run(self, minutes):
        for node in self.nodes:
            until(f"{node.name} sees three nodes", 30,
                  lambda: sum(each.get("memoryAvailable") is not None
                              for each in node.call("GET", "/shoal/v1/nodes")[1]) == 3)
        self.load()
        until("the model is ready", 60, self.ready)
        for question in QUESTIONS:
            status, text = self.chat(self.nodes[0], question)
            assert status == 200, text
            self.expected[question] = text
        say(f"in peace: {self.expected[QUESTIONS[0]]!r}")
        clients = [threading.Thread(target=self.client, args=(self.random.random(),)) for _ in range(CLIENT_COUNT)]
        for each in clients:
            each.start()
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end:
            time.sleep(self.random.uniform(0.5, 8))
            self.misfortune()
            self.recover()
        self.is_over.set()
        for each in clients:
            each.join(REQUEST_SECONDS_MAX + 10)
            if each.is_alive():
                self.note("hung", "a client did not come back")
        self.check_peace()

    def check_peace(self):
        self.recover()
        for question in QUESTIONS:
            status, text = self.chat(self.nodes[1], question)
            if status != 200 or not self.makes_sense(question, text):
                self.note("wrong text", f"in the end {question!r} was answered {status} {text!r}")
        for node in self.nodes:
            say(f"node {node.name}: {node.resident_mib()} MiB resident, {node.descriptor_count()} descriptors, "
                f"started {node.start_count} times")

    def stop(self):
        processes = [node.process for node in self.nodes]
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                self.note("node would not end", "a node did not end within 15 s of SIGTERM")
                process.kill()
                process.wait()
        time.sleep(1)
        left = [engine for engine, _ in self.engines() if engine in self.engines_seen]
        if left:
            self.note("orphans", f"engines outlived their nodes: {left}")


def main():
    shoal, model, minutes, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    say(f"SOAK_SEED={seed} MINUTES={minutes:g}")
    soak = Soak(shoal, model, seed)
    try:
        soak.run(minutes)
    except Exception as error:  # Whatever it is, the nodes are ended and the summary is printed.
        soak.is_over.set()
        soak.note("the soak failed", repr(error))
    finally:
        soak.stop()
    print(f"\nsummary of SOAK_SEED={seed} MINUTES={minutes:g}")
    for kind, count in sorted(soak.results.items()):
        print(f"  {count:6}  {kind}")
    for reason, count in soak.reasons.most_common(8):
        print(f"  {count:6}  refused: {reason}")
    if soak.recoveries:
        ordered = sorted(soak.recoveries)
        print(f"  recovery: median {ordered[len(ordered) // 2]:.1f} s, longest {ordered[-1]:.1f} s")
    print(f"  slowest request: {soak.slowest:.1f} s")
    if soak.violations:
        print(f"{len(soak.violations)} violations; logs are in {soak.folder}")
        for violation in soak.violations:
            print(f"  {violation}")
        sys.exit(1)
    shutil.rmtree(soak.folder)
    print("nothing was violated")


if __name__ == "__main__":
    main()

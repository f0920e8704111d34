"""The servers that are compared: how each is started, loaded, looked at and stopped.

Every class loads the same file with the same number of threads per worker, and answers OpenAI's completions.
"""
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time

import client

START_SECONDS_MAX = 180
SEQUENCES = 8
CONTEXT = 2560


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Processes:
    """Children of this program. Each is a group of its own, so that no grandchild is left."""

    def __init__(self, folder):
        self.folder, self.children = folder, []

    def start(self, name, command, environment=None, stdout=None):
        with open(os.path.join(self.folder, f"{name}.log"), "ab") as log:
            child = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log,
                env={**os.environ, **(environment or {})}, start_new_session=True)
        child.name = name
        self.children.append(child)
        return child

    def require_alive(self):
        for child in self.children:
            if child.poll() is not None:
                raise RuntimeError(f"{child.name} ended with {child.returncode}: {self.last_words(child.name)}")

    def last_words(self, name):
        with open(os.path.join(self.folder, f"{name}.log"), "rb") as log:
            return log.read()[-800:].decode(errors="replace")

    def stop(self):
        for wanted, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
            for child in self.children:
                if child.poll() is None:
                    os.killpg(child.pid, wanted)
            deadline = time.monotonic() + patience
            for child in self.children:
                try:
                    child.wait(max(0.01, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    pass
        self.children = []


class Emulator:
    """Puts a slow link in front of ports; with no delay and no rate there is none, and ports are what they were."""

    def __init__(self, processes, link, ports):
        self.ports = {port: port for port in ports}
        self.control = None
        if link.is_loopback:
            return
        outside = free_ports(len(ports) + 1)
        self.control = outside.pop()
        self.ports = dict(zip(ports, outside))
        here = os.path.dirname(os.path.abspath(__file__))
        command = [
            "python3", os.path.join(here, "linkemu.py"), "--delay", link.delay, "--rate", link.rate,
            "--control", self.control]
        for port, listen in self.ports.items():
            command += ["--route", f"{listen}=127.0.0.1:{port}"]
        child = processes.start("linkemu", command, stdout=subprocess.PIPE)
        if child.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the link emulator did not start: {processes.last_words('linkemu')}")

    def byte_counts(self):
        """Per port behind the emulator: bytes to it, bytes from it."""
        if self.control is None:
            return {}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(b"?", ("127.0.0.1", self.control))
            counts = json.loads(sock.recv(65536))
        return {port: counts[str(listen)] for port, listen in self.ports.items()}


class System:
    """`workers` are the processes that compute, by name: what CPU time and memory are asked of."""

    has_speculation = False

    def __init__(self, name, link, settings):
        self.name, self.link, self.settings = name, link, settings
        self.processes = Processes(settings.folder)
        self.emulator = None
        self.workers = {}

    def stop(self):
        self.processes.stop()

    def network_byte_count(self):
        return sum(sum(pair) for pair in self.emulator.byte_counts().values()) if self.emulator else 0

    def cpu_seconds(self):
        return {name: cpu_seconds(pid) for name, pid in self.workers.items()}

    def memory(self):
        return {name: resident_bytes(pid) for name, pid in self.workers.items()}

    def facts(self):
        return {}

    def trace(self):
        return {}

    def wait_until(self, what, is_true, interval=0.02):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            self.processes.require_alive()
            if is_true():
                return
            time.sleep(interval)
        raise RuntimeError(f"{self.name}: {what} did not happen within {START_SECONDS_MAX} s")


class LlamaServer(System):
    """Stock llama-server, unsplit; with workers, stock llama.cpp RPC: the head computes nothing."""

    def __init__(self, name, link, settings, threads=1, worker_count=0):
        super().__init__(name, link, settings)
        self.threads, self.worker_count = threads, worker_count

    def start(self):
        """Seconds from the start of llama-server to its first healthy answer; workers run already."""
        binaries = os.path.join(self.settings.prefix, "bin")
        self.port, *worker_ports = free_ports(1 + self.worker_count)
        for index, port in enumerate(worker_ports):
            child = self.processes.start(
                f"rpc{index}", [os.path.join(binaries, "ggml-rpc-server"), "-t", self.threads, "-p", port])
            self.workers[f"worker{index}"] = child.pid
        for port in worker_ports:
            self.wait_until(f"worker on port {port}", lambda: is_listening(port))
        self.emulator = Emulator(self.processes, self.link, worker_ports)
        command = [
            os.path.join(binaries, "llama-server"), "-m", self.settings.model, "--host", "127.0.0.1",
            "--port", self.port, "-t", self.threads, "-c", CONTEXT * SEQUENCES, "-np", SEQUENCES,
            "--cache-ram", 0, "-fit", "off"]
        if worker_ports:
            peers = ",".join(f"127.0.0.1:{self.emulator.ports[port]}" for port in worker_ports)
            command += ["--rpc", peers, "-ngl", 999, "-sm", "layer", "-ts", ",".join(["1"] * self.worker_count)]
        started_at = time.monotonic()
        child = self.processes.start("llama-server", command)
        self.workers["server"] = child.pid
        self.wait_until("a healthy answer", self.is_healthy)
        return time.monotonic() - started_at

    def is_healthy(self):
        try:
            return client.get(self.port, "/health")[0] == 200
        except (OSError, ValueError, IndexError):
            return False

    def ask(self, prompts, token_count, speculate="off"):
        return client.completions(
            self.port, "any", prompts, token_count, banned=self.settings.banned)


class Shoal(System):
    """`stage_count` nodes, each with one stage; the last one is the head and answers the client."""

    def __init__(self, name, link, settings, stage_count, further_nodes=0, wire=None, engine="stages", draft=None):
        super().__init__(name, link, settings)
        self.stage_count, self.further_nodes, self.wire = stage_count, further_nodes, wire
        self.engine = engine
        self.draft = draft
        self.instance = None

    def start(self):
        """Seconds from the request to load to a ready instance; the nodes run already."""
        count = self.stage_count + self.further_nodes
        links, self.apis = free_ports(count), free_ports(count)
        self.emulator = Emulator(self.processes, self.link, links)
        key = secrets.token_hex(32)
        folders = [tempfile.mkdtemp(dir=self.settings.folder) for _ in range(count)]
        for index in range(count):
            outside = [self.emulator.ports[port] for port in links]
            command = [
                self.settings.shoal, "serve", "--name", f"n{index}",
                "--data", folders[index],
                "--api", f"127.0.0.1:{self.apis[index]}", "--link", f"127.0.0.1:{links[index]}",
                "--advertise", f"127.0.0.1:{outside[index]}", "--discovery", "off", "--threads", 1,
                "--log-level", "warning"]
            for port in outside[:index]:
                command += ["--peer", f"127.0.0.1:{port}"]
            child = self.processes.start(f"{self.name}-n{index}", command, {"SHOAL_CLUSTER_KEY": key})
            self.workers[f"n{index}"] = child.pid
        # With llama.cpp's programs the head, which was asked, computes nothing, as in stock RPC.
        self.port = self.apis[-1 if self.engine == "rpc" else self.stage_count - 1]
        self.wait_until("a cluster of all nodes", lambda: self.connected_count() == count)
        # A new node measures itself for some seconds, once; what is compared with it has nothing to do meanwhile either.
        self.wait_until("the measured speed of all nodes", lambda: all(
            os.path.exists(os.path.join(folder, "speed.json")) for folder in folders))
        body = {"model": self.settings.model, "contextTokenCount": CONTEXT, "sequenceCountMax": SEQUENCES}
        body["layers"] = self.placement()
        body["engine"] = self.engine
        if self.wire:
            body["wire"] = self.wire
        if self.draft:
            body["draft"] = self.draft
        started_at = time.monotonic()
        status, content = client.call(self.port, "POST", "/shoal/v1/instances", body)
        if status != 202:
            raise RuntimeError(f"{self.name}: loading was refused: {content.decode(errors='replace')}")
        self.model = json.loads(content)["model"]
        self.wait_until("a loaded model", self.is_ready)
        seconds = time.monotonic() - started_at
        if self.engine == "rpc":
            return seconds
        self.wait_until("a report of every engine", lambda: all(
            "engineProcessID" in stage for stage in self.report()["stages"]))
        if self.draft:
            self.wait_until("the draft model", lambda: self.report()["draft"]["phase"] == "ready")
        self.has_speculation = self.knows_speculation()
        for index, stage in enumerate(self.report()["stages"]):
            self.workers[f"n{index}.engine"] = stage["engineProcessID"]
        return seconds

    def connected_count(self):
        """Nodes that see all others, as far as this one sees others."""
        counts = []
        for port in self.apis:
            try:
                nodes = json.loads(client.get(port, "/shoal/v1/nodes")[1])
            except (OSError, ValueError, IndexError):
                return 0
            counts.append(sum(node["reachability"] in ("this", "connected") for node in nodes))
        return min(counts)

    def placement(self):
        _, content = client.call(self.port, "POST", "/shoal/v1/plan", {"model": self.settings.model})
        layer_count = json.loads(content)["layerCount"]
        parts, first = [], 0
        for index, size in enumerate(split(layer_count, self.stage_count, self.settings.output_layers)):
            parts.append(f"n{index}={first}-{first + size - 1}")
            first += size
        return ",".join(parts)

    def facts(self):
        if self.engine == "rpc":
            return {}
        stages = [
            {"weight_bytes": stage["weightBytes"], "cache_bytes": stage.get("kvCacheBytes", 0),
             "layers": stage["layers"]} for stage in self.report()["stages"]]
        return {"stages": stages}

    def report(self):
        instances = json.loads(client.get(self.port, "/shoal/v1/instances")[1])
        return next((instance for instance in instances if instance["model"] == self.model), None)

    def is_ready(self):
        report = self.report()
        if report and report["phase"] == "failed":
            raise RuntimeError(f"{self.name}: the model failed to load: {report.get('problem')}")
        return report and report["phase"] == "ready"

    def knows_speculation(self):
        """A nonsensical value is refused by those that know the field."""
        body = {"model": self.model, "prompt": "x", "max_tokens": 1, "speculate": "nonsense"}
        return client.call(self.port, "POST", "/v1/completions", body)[0] == 400

    def trace(self):
        """Milliseconds per decoded token of the latest answer, by where they went."""
        if self.engine == "rpc":
            return {}
        latest = json.loads(client.get(self.port, "/shoal/v1/traces")[1])[0]["decode"]
        count = latest["tokenCount"]
        if not count:
            return {}
        sums = {name: latest[name] for name in ("elapsed", "head", "wire")}
        for name in ("queue", "embed", "compute", "sample", "detokenize", "handOver"):
            sums[name] = sum(stage[name] for stage in latest["stages"])
        each = {name: total / count / 1000 for name, total in sums.items()}
        # Two stages mean two ways per token; the bytes of one row cross all but the last.
        floor = self.stage_count * self.link.delay if self.stage_count > 1 else 0
        each["own"] = each["elapsed"] - each["compute"] - floor
        return each

    def ask(self, prompts, token_count, speculate="off"):
        return client.completions(
            self.port, self.model, prompts, token_count, banned=self.settings.banned,
            further={"speculate": speculate} if self.has_speculation else None)


def split(layer_count, stage_count, output_layers):
    """Layers per stage, so that every stage works about equally long; the last one's output matrix counts as
    `output_layers` layers."""
    share = (layer_count + output_layers) / stage_count
    ends = [round(share * (index + 1)) for index in range(stage_count - 1)] + [layer_count]
    return [end - start for start, end in zip([0] + ends, ends)]


def is_listening(port):
    """Looks without connecting: a worker serves one connection after the other."""
    wanted = f":{port:04X}"
    try:
        with open("/proc/net/tcp", encoding="ascii") as table:
            return any(line.split()[1].endswith(wanted) and line.split()[3] == "0A" for line in list(table)[1:])
    except FileNotFoundError:
        time.sleep(1)
        return True


def cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            line = next(line for line in status if line.startswith("VmRSS:"))
    except (FileNotFoundError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024

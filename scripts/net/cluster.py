"""Real nodes in network namespaces of their own, for scripts/test-net.sh: three namespaces on one bridge, a node in each.

    cluster.py SHOAL MODEL [SCENARIO...]     `fresh` and those named, all by default; ends with 0 when all hold

Everything it makes it removes, also when it fails or is interrupted. Every wait has a limit.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

NAMES = ["a", "b", "c"]
LINK_PORT = 7461
SPLIT = "a=0-14,b=15-29"
# Names of this run only, so that two runs do not meet. Interface names have at most 15 characters.
TAG = f"shl{os.getpid()}"
# A phone, a strict firewall: nothing comes in that was not asked for.
DROP_INBOUND = """
table inet shoal {
    chain input {
        type filter hook input priority 0; policy accept;
        iifname "eth0" tcp flags & (syn | ack) == syn drop
        iifname "eth0" meta l4proto udp drop
    }
}
"""


class Failure(Exception):
    pass


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def run(*command, text=None, check=True, timeout=60):
    result = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout)
    if check and result.returncode != 0:
        raise Failure(f"{' '.join(command)}: {result.stderr.strip()}")
    return result


def until(what, seconds, condition):
    """The condition's value as soon as it is true; a failure with `what` after so long."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (Failure, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            last = error
        if time.monotonic() > deadline:
            raise Failure(f"not within {seconds} s: {what}" + (f" ({last})" if last else ""))
        time.sleep(0.05)


class Network:
    """A bridge with a namespace per node; a second bridge stands for a VPN."""

    def __init__(self):
        self.namespaces = []

    def space(self, name):
        return TAG + name

    def make(self):
        self.add("br")
        bridge = self.space("br")
        for name in ["lan", "vpn"]:
            run("ip", "-n", bridge, "link", "add", name, "type", "bridge", "mcast_snooping", "0")
            run("ip", "-n", bridge, "link", "set", name, "up")
        for index, name in enumerate(NAMES):
            self.add(name)
            run("ip", "-n", self.space(name), "link", "set", "lo", "up")
            self.plug(name, "lan", "eth0", f"10.77.0.{index + 1}/24")

    def add(self, name):
        run("ip", "netns", "add", self.space(name))
        self.namespaces.append(self.space(name))

    def plug(self, name, bridge, device, address, multicast=True):
        space, hub = self.space(name), self.space("br")
        run("ip", "-n", hub, "link", "add", f"{bridge}{name}", "type", "veth", "peer", "name", device, "netns", space)
        run("ip", "-n", hub, "link", "set", f"{bridge}{name}", "master", bridge, "up")
        if address:
            run("ip", "-n", space, "address", "add", address, "broadcast", "+", "dev", device)
        if not multicast:
            run("ip", "-n", space, "link", "set", device, "multicast", "off")
        run("ip", "-n", space, "link", "set", device, "up")

    def unplug(self, name, bridge):
        run("ip", "-n", self.space("br"), "link", "del", f"{bridge}{name}")

    def link(self, name, state):
        run("ip", "-n", self.space(name), "link", "set", "eth0", state)

    def drop_inbound(self, name):
        run("ip", "netns", "exec", self.space(name), "nft", "-f", "-", text=DROP_INBOUND)

    def accept_inbound(self, name):
        run("ip", "netns", "exec", self.space(name), "nft", "delete", "table", "inet", "shoal")

    def remove(self):
        for space in reversed(self.namespaces):
            run("ip", "netns", "del", space, check=False)


class Node:
    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.space = cluster.network.space(name)
        self.data = os.path.join(cluster.folder, name)
        self.log = os.path.join(cluster.folder, f"{name}.log")
        self.process = None

    def start(self, *arguments):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.space, self.cluster.shoal, "serve", "--name", self.name, "--data",
                 self.data, "--link", f"0.0.0.0:{LINK_PORT}", "--threads", "1", *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.cluster.environment)

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def forget_everything(self):
        shutil.rmtree(self.data, ignore_errors=True)

    def shoal(self, *arguments, check=True, timeout=60):
        return run("ip", "netns", "exec", self.space, self.cluster.shoal, *arguments, check=check, timeout=timeout)

    def request(self, path, body=None, timeout=30):
        command = ["ip", "netns", "exec", self.space, "curl", "-sS", "--max-time", str(timeout)]
        if body is not None:
            command += ["-H", "content-type: application/json", "-d", json.dumps(body)]
        result = run(*command, f"http://127.0.0.1:7460{path}", timeout=timeout + 5)
        return json.loads(result.stdout)

    def peers(self):
        """The names of the nodes that it is linked with and knows enough of to plan with."""
        reports = self.request("/shoal/v1/nodes")
        return sorted(r["name"] for r in reports if r["reachability"] == "connected" and r.get("memoryAvailable"))

    def rows(self):
        report = self.request("/shoal/v1/links")
        return {(r["fromName"], r["toName"], r["address"]): r for r in report["links"]}

    def pair(self, one, other):
        """Who dials, or the relay's name in brackets."""
        for pair in self.request("/shoal/v1/links")["pairs"]:
            if {pair["firstName"], pair["secondName"]} == {one, other}:
                by = {"direct": pair["firstName"], "reversed": pair["secondName"]}
                return by.get(pair["way"], f"({pair.get('relayName')})")
        return None


class Cluster:
    def __init__(self, shoal, model):
        self.shoal, self.model = shoal, model
        self.folder = tempfile.mkdtemp(prefix="shoal-net-")
        self.network = Network()
        key = os.path.join(self.folder, "key")
        with open(key, "w") as file:
            file.write(os.urandom(32).hex())
        self.environment = dict(os.environ, SHOAL_CLUSTER_KEY=key)
        self.nodes = {name: Node(self, name) for name in NAMES}
        self.answer = None

    def __getitem__(self, name):
        return self.nodes[name]

    def start(self, names=NAMES, *arguments):
        for name in names:
            self[name].start(*arguments)

    def stop(self):
        for node in self.nodes.values():
            node.stop()

    def await_links(self, names=NAMES, seconds=20):
        for name in names:
            others = [other for other in names if other != name]
            until(f"{name} is linked with {others}", seconds, lambda: self[name].peers() == others)

    def await_rows(self, expected, seconds=30):
        """`expected` maps (from, to) to a state; the address is the node's own in the LAN."""

        def holds():
            rows = self["c"].rows()
            for (one, other), state in expected.items():
                row = rows.get((one, other, lan_address(other)))
                if row is None or row["state"] != state:
                    raise Failure(f"{one} to {other}: {row and row['state']}")
            return True

        until(f"the rows are {expected}", seconds, holds)

    def load_and_answer(self, layers=SPLIT, seconds=60):
        """Loads the model split in two, asks both nodes, and unloads it."""
        names = [part.split("=")[0] for part in layers.split(",")]
        parts = [part.split("=")[1].split("-") for part in layers.split(",")]
        begin = time.monotonic()
        instance = self[names[0]].request(
            "/shoal/v1/instances",
            {"model": self.model, "contextTokenCount": 512,
             "layers": [{"nodeName": name, "layers": {"first": int(first), "end": int(last) + 1}}
                        for name, (first, last) in zip(names, parts)]})
        if "id" not in instance:
            raise Failure(f"load was refused: {instance}")
        path = f"/shoal/v1/instances/{instance['id']}"

        def ready():
            report = self[names[0]].request(path)
            if report["phase"] == "failed":
                raise SystemExit(f"the instance failed: {report.get('problem')}")
            return report["phase"] == "ready"

        until(f"{layers} is ready", seconds, ready)
        loaded = time.monotonic() - begin
        for name in names:
            answer = until(f"{name} answers", 30, lambda: self.ask(name))
            self.answer = self.answer or answer
            if answer != self.answer:
                raise Failure(f"{name} answers {answer!r}, before it was {self.answer!r}")
        self[names[0]].shoal("stop", instance["id"])
        until("it is stopped", 20, lambda: not self[names[0]].request("/shoal/v1/instances"))
        return loaded

    def ask(self, name):
        reply = self[name].request(
            "/v1/chat/completions",
            {"model": os.path.basename(self.model).removesuffix(".gguf"), "temperature": 0, "max_tokens": 24,
             "messages": [{"role": "system", "content": "You are a helpful assistant."},
                          {"role": "user", "content": "What is the capital of France?"}]})
        if "choices" not in reply:
            raise Failure(f"{name}: {reply}")
        return reply["choices"][0]["message"]["content"]

    def doctor(self, name):
        result = self[name].shoal("doctor", check=False)
        return result.stdout, result.returncode


def lan_address(name):
    return f"10.77.0.{NAMES.index(name) + 1}:{LINK_PORT}"


def expect(condition, what):
    if not condition:
        raise Failure(what)


# Scenarios. Each starts with no node running, all packets passing and the data of those before.


def fresh(cluster):
    """three fresh members on one LAN see each other in 3 s, with nothing typed, load and answer"""
    begin = time.monotonic()
    cluster.start()
    cluster.await_links()
    seconds = time.monotonic() - begin
    say(f"all linked {seconds:.1f} s after they were started")
    # The nodes' own start, on a busy machine, is not what is asked; it takes part of a second.
    expect(seconds <= 3 + 2, f"the nodes needed {seconds:.1f} s to see each other")
    say(f"loaded after {cluster.load_and_answer():.1f} s; both answer: {cluster.answer!r}")
    pairs = {(one, other): "open" for one in NAMES for other in NAMES if one != other}
    cluster.await_rows(pairs)
    text, code = cluster.doctor("a")
    expect(code == 0 and "every measured address is open" in text, f"the doctor says {code}:\n{text}")
    until("10 MB pass on every link", 60,
          lambda: all(row.get("bulkPassed") for row in cluster["a"].rows().values()))


def b_filtered(cluster):
    """b drops what comes in: it dials out, is asked to when somebody else wants a connection, and is a full worker"""
    cluster.network.drop_inbound("b")
    filtered(cluster, {("a", "b"): "timedOut", ("c", "b"): "timedOut", ("b", "a"): "open", ("b", "c"): "open"}, "b")
    text, code = cluster.doctor("a")
    expect(code == 0, f"the doctor fails: {text}")
    expect("a gets no answer from b at 10.77.0.2:7461 although b is alive: a firewall drops it; on b, allow incoming "
           "TCP port 7461" in text, f"the doctor does not say what to do:\n{text}")
    cluster.network.accept_inbound("b")


def a_filtered(cluster):
    """a drops what comes in"""
    cluster.network.drop_inbound("a")
    filtered(cluster, {("b", "a"): "timedOut", ("c", "a"): "timedOut", ("a", "b"): "open", ("a", "c"): "open"}, "a")
    cluster.network.accept_inbound("a")


def filtered(cluster, rows, dialler):
    # No address is given: they remember the ones that worked.
    cluster.start()
    cluster.await_links()
    say(f"loaded after {cluster.load_and_answer():.1f} s")
    say(f"the other way round after {cluster.load_and_answer('b=0-14,a=15-29'):.1f} s")
    cluster.await_rows(rows)
    until(f"{dialler} dials", 10, lambda: cluster["c"].pair("a", "b") == dialler)


def both_filtered(cluster):
    """a and b drop what comes in: c passes their bytes on"""
    for name in ["a", "b"]:
        cluster.network.drop_inbound(name)
    cluster.start()
    cluster.await_links()
    say(f"loaded after {cluster.load_and_answer():.1f} s")
    cluster.await_rows({("a", "b"): "timedOut", ("b", "a"): "timedOut", ("a", "c"): "open", ("b", "c"): "open"})
    until("c relays", 10, lambda: cluster["a"].pair("a", "b") == "(c)")
    text, code = cluster.doctor("a")
    expect(code == 0 and "a and b cannot dial each other; c passes their bytes on" in text,
           f"the doctor says {code}:\n{text}")
    expect("through c" in cluster["a"].shoal("links").stdout, "shoal links does not name the relay")
    say("now b lets packets in: the direct way replaces the relay")
    cluster.network.accept_inbound("b")
    until("a dials b", 60, lambda: cluster["a"].pair("a", "b") == "a")
    say(f"loaded after {cluster.load_and_answer():.1f} s")
    cluster.network.accept_inbound("a")


def interfaces(cluster):
    """an interface that comes late, goes, and comes back"""
    cluster.network.link("c", "down")
    cluster["c"].forget_everything()
    cluster.start()
    cluster.await_links(["a", "b"])
    cluster.network.link("c", "up")
    begin = time.monotonic()
    until("c is linked", 15, lambda: cluster["c"].peers() == ["a", "b"])
    say(f"c is linked {time.monotonic() - begin:.1f} s after its network came")
    cluster.network.link("c", "down")
    until("a notices", 20, lambda: cluster["a"].peers() == ["b"])
    cluster.network.link("c", "up")
    begin = time.monotonic()
    cluster.await_links(seconds=30)
    say(f"all linked again {time.monotonic() - begin:.1f} s after it came back")
    say(f"loaded after {cluster.load_and_answer('a=0-14,c=15-29'):.1f} s")


def vpn(cluster):
    """a and b share nothing but a VPN without multicast, with addresses of 100.64/10"""
    for index, name in enumerate(["a", "b"]):
        cluster.network.link(name, "down")
        cluster[name].forget_everything()
        cluster.network.plug(name, "vpn", "tailscale0", f"100.64.0.{index + 1}/10", multicast=False)
    cluster["a"].start()
    cluster["b"].start("--peer", "100.64.0.1:7461")
    cluster.await_links(["a", "b"])
    say(f"loaded after {cluster.load_and_answer():.1f} s")
    until("the rows are of the VPN", 20, lambda: cluster["b"].rows().get(("b", "a", "100.64.0.1:7461")))
    for name in ["a", "b"]:
        cluster.network.unplug(name, "vpn")
        cluster.network.link(name, "up")


def wrong(cluster):
    """a port where nothing listens and an address that nobody has are told apart, each with its address"""
    cluster["c"].start()
    cluster["a"].start("--peer", "10.77.0.3:7999", "--peer", "10.77.0.99:7461")

    def told():
        text, code = cluster.doctor("a")
        expect(code == 1, f"the doctor ends with {code}:\n{text}")
        expect("nothing listens at 10.77.0.3:7999: the connection was refused" in text, text)
        expect("10.77.0.99:7461 cannot be reached" in text or "10.77.0.99:7461 did not answer" in text, text)
        return True

    until("the doctor says so", 15, told)


SCENARIOS = [fresh, b_filtered, a_filtered, both_filtered, interfaces, vpn, wrong]


def main(shoal, model, wanted):
    # Also on SIGTERM everything is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    cluster = Cluster(shoal, model)
    good = False
    try:
        cluster.network.make()
        for scenario in SCENARIOS:
            # The first one leaves behind the addresses that firewalled nodes need: they hear no beacons.
            if wanted and scenario is not fresh and scenario.__name__ not in wanted:
                continue
            say(scenario.__doc__)
            scenario(cluster)
            cluster.stop()
        good = True
        say("all as it should be")
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
    finally:
        if not good:
            for name, node in cluster.nodes.items():
                if node.process is not None:
                    for command in (["nodes"], ["links"], ["doctor"]):
                        result = node.shoal(*command, check=False)
                        print(f"--- {name}: shoal {command[0]}\n{result.stdout}{result.stderr}", file=sys.stderr)
        cluster.stop()
        if not good:
            for name, node in cluster.nodes.items():
                if os.path.exists(node.log):
                    with open(node.log, errors="replace") as log:
                        print(f"--- log of {name}\n" + "".join(log.readlines()[-60:]), file=sys.stderr)
        cluster.network.remove()
        shutil.rmtree(cluster.folder, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])

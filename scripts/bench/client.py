"""One HTTP client for every server: streamed completions, timed by when their bytes arrive.

A single thread and plain sockets, so that the client costs the two cores as little as possible: nothing is parsed
before the last answer has ended.
"""
import json
import selectors
import socket
import time
from dataclasses import dataclass, field


@dataclass
class Answer:
    started_at: float
    first_at: float = 0.0
    last_at: float = 0.0
    token_count: int = 0
    prompt_token_count: int = 0
    text: str = ""
    # When each event with text arrived.
    arrivals: list = field(default_factory=list)
    timings: dict = field(default_factory=dict)

    @property
    def first_token_seconds(self):
        return self.first_at - self.started_at

    @property
    def decode_rate(self):
        """Tokens per second after the first."""
        elapsed = self.last_at - self.first_at
        return (self.token_count - 1) / elapsed if elapsed > 0 and self.token_count > 1 else 0.0


def get(port, path, timeout=5.0):
    return call(port, "GET", path, None, timeout)


def call(port, method, path, body, timeout=60.0):
    """A request that is answered in one piece: status and body."""
    payload = b"" if body is None else json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        sock.sendall(head(method, path, len(payload)) + payload)
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    status, content, _ = split(data)
    return status, content


def completions(port, model, prompts, token_count, banned=(), timeout=600.0, further=None):
    """Asks for one streamed answer per prompt, all at once; the answers, in the order of the prompts."""
    selector = selectors.DefaultSelector()
    states = []
    for prompt in prompts:
        body = {
            "model": model, "prompt": prompt, "max_tokens": token_count, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}, "cache_prompt": False,
            "logit_bias": {str(token): -100 for token in banned}, **(further or {})}
        payload = json.dumps(body).encode()
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        states.append((sock, head("POST", "/v1/completions", len(payload)) + payload, []))
    started_at = time.monotonic()
    starts = []
    for sock, request, reads in states:
        starts.append(time.monotonic())
        sock.sendall(request)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, reads)
    open_count = len(states)
    while open_count:
        if time.monotonic() - started_at > timeout:
            raise RuntimeError(f"no answer within {timeout} s")
        for key, _ in selector.select(timeout=5.0):
            data = key.fileobj.recv(262144)
            key.data.append((time.monotonic(), data))
            if not data or data.endswith(b"0\r\n\r\n"):
                selector.unregister(key.fileobj)
                key.fileobj.close()
                open_count -= 1
    return [parse(start, reads) for start, (_, _, reads) in zip(starts, states)]


def head(method, path, byte_count):
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {byte_count}\r\n\r\n").encode()


def split(data):
    """Status, body, and for each byte of the body where it lay in `data`, as runs."""
    header, _, rest = data.partition(b"\r\n\r\n")
    status = int(header.split(b" ", 2)[1])
    if b"transfer-encoding: chunked" not in header.lower():
        return status, rest, [(0, len(header) + 4)]
    body, runs, position = b"", [], 0
    while True:
        line, _, _ = rest[position:position + 32].partition(b"\r\n")
        size = int(line.split(b";")[0] or b"0", 16)
        if size == 0:
            return status, body, runs
        start = position + len(line) + 2
        runs.append((len(body), len(header) + 4 + start))
        body += rest[start:start + size]
        position = start + size + 2


def parse(started_at, reads):
    data = b"".join(chunk for _, chunk in reads)
    status, body, runs = split(data)
    if status != 200:
        raise RuntimeError(f"status {status}: {body[:400].decode(errors='replace')}")
    answer = Answer(started_at)
    arrivals, total = [], 0
    for at, chunk in reads:
        total += len(chunk)
        arrivals.append((total, at))
    offset = 0
    for block in body.split(b"\n\n"):
        start, offset = offset, offset + len(block) + 2
        line = block.strip()
        if not line.startswith(b"data:") or line == b"data: [DONE]":
            continue
        event = json.loads(line[5:])
        if "error" in event:
            raise RuntimeError(f"the stream ended with {event['error']}")
        if text := "".join(choice.get("text") or "" for choice in event.get("choices", [])):
            at = arrival(arrivals, position(runs, start + len(block) - 1))
            answer.first_at = answer.first_at or at
            answer.last_at = at
            answer.arrivals.append(at)
            answer.text += text
        answer.timings = event.get("timings") or answer.timings
        if usage := event.get("usage"):
            answer.token_count = usage["completion_tokens"]
            answer.prompt_token_count = usage["prompt_tokens"]
    answer.token_count = answer.token_count or answer.timings.get("predicted_n", 0)
    return answer


def position(runs, offset):
    """Where a byte of the body lay in what was received."""
    base = max(run for run in runs if run[0] <= offset)
    return base[1] + offset - base[0]


def arrival(arrivals, offset):
    return next(at for end, at in arrivals if offset < end)

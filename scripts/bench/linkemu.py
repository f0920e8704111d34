#!/usr/bin/env python3
"""A TCP relay that behaves like a slow link, in user space and without privileges. Standard library only.

    linkemu.py --delay MS --rate MB_PER_S --control UDP_PORT --route LISTEN=HOST:PORT [--route ...]

A route is one device's network: whatever its connections send in one direction shares `--rate` (megabytes, 10^6, per
second; 0 is unlimited) and arrives `--delay` milliseconds after it left. A connection costs one round trip before
its first byte passes. Anything sent to the control port is answered with the bytes per route and direction, as JSON.

One thread and one select loop: a connection costs no thread, and a chunk of bytes about 30 microseconds. With the
privilege for it the process runs at real-time priority, so that a busy machine does not lengthen the link.
"""
import argparse
import collections
import errno
import heapq
import json
import os
import select
import signal
import socket
import time

QUEUE_BYTE_COUNT_MAX = 512_000
CHUNK_BYTE_COUNT_MAX = 65_536


class Direction:
    """What one device sends, or what it receives: a serial line of `rate` bytes per second."""

    def __init__(self, rate, delay):
        self.rate, self.delay = rate, delay
        self.free_at = 0.0
        self.byte_count = 0

    def arrival(self, byte_count, now):
        self.byte_count += byte_count
        self.free_at = max(now, self.free_at) + (byte_count / self.rate if self.rate else 0)
        return self.free_at + self.delay

    def backlog(self, now):
        return max(0.0, self.free_at - now) * self.rate

    def room_at(self, now):
        """When there is room in the queue in front of the line again."""
        excess = self.backlog(now) - QUEUE_BYTE_COUNT_MAX
        return now + excess / self.rate if excess > 0 else now


class Half:
    """Bytes of one connection in one direction."""

    def __init__(self, source, sink, line):
        self.source, self.sink, self.line = source, sink, line
        self.chunks = collections.deque()
        self.ended = False
        self.reads_from = 0.0


class Relay:
    def __init__(self, routes, delay, rate, control_port):
        self.delay, self.rate = delay, rate
        self.events, self.count = [], 0
        self.readers, self.writers = {}, {}
        self.listeners, self.lines = {}, {}
        for listen, target in routes:
            server = socket.create_server(("127.0.0.1", listen), backlog=64)
            server.setblocking(False)
            self.lines[listen] = (Direction(rate, delay), Direction(rate, delay))
            self.listeners[server] = (listen, target)
        self.control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.control.bind(("127.0.0.1", control_port))
        self.control.setblocking(False)

    def at(self, when, action):
        self.count += 1
        heapq.heappush(self.events, (when, self.count, action))

    def run(self):
        while True:
            now = time.monotonic()
            while self.events and self.events[0][0] <= now:
                heapq.heappop(self.events)[2]()
                now = time.monotonic()
            reading = [s for s, half in self.readers.items() if half.reads_from <= now]
            timeout = max(0.0, self.events[0][0] - now) if self.events else None
            ready, writable, _ = select.select(
                [*self.listeners, self.control, *reading], list(self.writers), [], timeout)
            for sock in ready:
                if sock in self.listeners:
                    self.accept(sock)
                elif sock is self.control:
                    self.answer()
                elif sock in self.readers:
                    self.read(self.readers[sock])
            for sock in writable:
                if sock in self.writers:
                    self.write(self.writers[sock])

    def answer(self):
        _, sender = self.control.recvfrom(4096)
        counts = {listen: [line.byte_count for line in lines] for listen, lines in self.lines.items()}
        self.control.sendto(json.dumps(counts).encode(), sender)

    def accept(self, server):
        client, _ = server.accept()
        listen, target = self.listeners[server]
        # The handshake's round trip.
        self.at(time.monotonic() + 2 * self.delay, lambda: self.connect(client, target, self.lines[listen]))

    def connect(self, client, target, lines):
        try:
            upstream = socket.create_connection(target, timeout=5)
        except OSError:
            client.close()
            return
        for sock in (client, upstream):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
        self.readers[client] = Half(client, upstream, lines[0])
        self.readers[upstream] = Half(upstream, client, lines[1])

    def read(self, half):
        now = time.monotonic()
        size = min(CHUNK_BYTE_COUNT_MAX, max(1460, int(self.rate * 0.002))) if self.rate else CHUNK_BYTE_COUNT_MAX
        try:
            data = half.source.recv(size)
        except BlockingIOError:
            return
        except OSError:
            return self.reset(half)
        if not data:
            # No more from there; what is on its way still arrives.
            self.readers.pop(half.source, None)
        self.at(half.line.arrival(len(data), now), lambda: self.deliver(half, data))
        half.reads_from = half.line.room_at(now)
        if half.reads_from > now:
            self.at(half.reads_from, lambda: None)

    def deliver(self, half, data):
        half.chunks.append(data)
        self.write(half)

    def write(self, half):
        try:
            while half.chunks:
                data = half.chunks[0]
                if not data:
                    half.ended = True
                    half.sink.shutdown(socket.SHUT_WR)
                    half.chunks.popleft()
                    continue
                sent = half.sink.send(data)
                if sent == len(data):
                    half.chunks.popleft()
                else:
                    half.chunks[0] = data[sent:]
        except BlockingIOError:
            self.writers[half.sink] = half
            return
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                return self.reset(half)
        self.writers.pop(half.sink, None)

    def reset(self, half):
        for sock in (half.source, half.sink):
            self.readers.pop(sock, None)
            self.writers.pop(sock, None)
            half.chunks.clear()
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def route(text):
    listen, _, target = text.partition("=")
    host, _, port = target.rpartition(":")
    return int(listen), (host, int(port))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--route", type=route, action="append", required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    except (OSError, AttributeError):
        pass
    relay = Relay(arguments.route, arguments.delay / 1e3, arguments.rate * 1e6, arguments.control)
    print("ready", flush=True)
    try:
        relay.run()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

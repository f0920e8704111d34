"""Speaks to every TCP port and the discovery port of a node as a stranger, and judges the answers.

Usage: port_scan.py HOST LINK_PORT. Exit status 0 when nothing but the link port is open and it says nothing.
"""

import errno
import os
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

TIMEOUT_SECONDS = 10
# A TLS alert is all that a failed handshake may say.
ALERT_BYTE_COUNT = 7


def open_ports(host):
    def is_open(port):
        with socket.socket() as probe:
            probe.settimeout(TIMEOUT_SECONDS)
            code = probe.connect_ex((host, port))
        if code not in (0, errno.ECONNREFUSED):
            sys.exit(f"port {port} neither accepts nor refuses: {errno.errorcode.get(code, code)}")
        return code == 0

    with ThreadPoolExecutor(64) as pool:
        return [port for port, found in enumerate(pool.map(is_open, range(1, 65536)), start=1) if found]


def read_to_end(connection):
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    except socket.timeout:
        sys.exit(f"the connection was not closed within {TIMEOUT_SECONDS} s; so far it said {data!r}")
    return data


def plain(host, port, words):
    with socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as connection:
        if words:
            connection.sendall(words)
        return read_to_end(connection)


def over_tls(host, port, words, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = version
    context.set_alpn_protocols(["shoal/1"])
    with socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as connection:
        try:
            with context.wrap_socket(connection) as secured:
                secured.sendall(words)
                return read_to_end(secured)
        except (ssl.SSLError, ConnectionError):
            return b""


def datagrams_are_ignored(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(2)
        for words in (b"", b"SHBN", os.urandom(1400), b"GET / HTTP/1.1\r\n\r\n"):
            sender.sendto(words, (host, port))
        try:
            return sender.recv(2048)
        except (socket.timeout, ConnectionRefusedError):
            return None


def main():
    host, link = sys.argv[1], int(sys.argv[2])
    found = open_ports(host)
    if found != [link]:
        sys.exit(f"open TCP ports: {found}; only the link port {link} should be")
    garbage = os.urandom(4096)
    for name, words in (
        ("silence", b""),
        ("nonsense", garbage),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a frame in the clear", b"SHOL\x01\x40" + bytes(30)),
    ):
        answer = plain(host, link, words)
        if len(answer) > ALERT_BYTE_COUNT:
            sys.exit(f"{name} was answered: {answer!r}")
    for name, version in (("1.2", ssl.TLSVersion.TLSv1_2), ("1.3", ssl.TLSVersion.TLSv1_3)):
        answer = over_tls(host, link, garbage, version)
        if answer:
            sys.exit(f"TLS {name} without a certificate was answered: {answer!r}")
    answer = datagrams_are_ignored(host, link)
    if answer is not None:
        sys.exit(f"nonsense on the discovery port was answered: {answer!r}")
    print(f"65535 ports scanned; only {link} is open, and it says nothing to strangers")


if __name__ == "__main__":
    main()

"""A client that asks much more than it may: `python -m support.flooder PORT SOURCE RATE SECONDS`.

Sends GET / from the address SOURCE at RATE a second over a few connections in turn, and prints as
JSON how often each status came; a connection that was closed without an answer counts as 0. Bare
sockets: a flood that takes much of the machine for itself says nothing of who is flooded.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections import Counter

CONNECTIONS = 4
REQUEST = b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n"
_ANSWER_SECONDS_MAX = 20.0


def flood(port: int, source: str, rate: float, seconds: float) -> Counter[int]:
    """How often each status came."""
    found: Counter[int] = Counter()
    lines: list[socket.socket | None] = [None] * CONNECTIONS
    start = time.perf_counter()
    for turn in range(round(rate * seconds)):
        time.sleep(max(0.0, start + turn / rate - time.perf_counter()))
        if time.perf_counter() - start >= seconds:
            break
        place = turn % CONNECTIONS
        try:
            line = lines[place] or _connected(port, source)
            lines[place] = line
            found[one(line)] += 1
        except OSError:
            found[0] += 1
            lines[place] = None
    return found


def _connected(port: int, source: str) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), _ANSWER_SECONDS_MAX, (source, 0))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def one(line: socket.socket) -> int:
    """The status of one request; raises `OSError` when there is no answer."""
    line.sendall(REQUEST)
    answer = line.recv(65_536)
    while b"\r\n\r\n" not in answer:
        more = line.recv(65_536)
        if not more:
            line.close()
            raise ConnectionError
        answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    while len(body) < int(length or 0):
        body += line.recv(65_536)
    return int(head[9:12])


if __name__ == "__main__":
    port, source, rate, seconds = sys.argv[1:5]
    print(json.dumps(flood(int(port), source, float(rate), float(seconds))))

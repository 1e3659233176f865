"""Clients that ask at an even pace: `python -m support.behaved PORT CLIENTS PACE SECONDS`.

Each sends GET / from an address of its own, PACE times a second, over one connection. Prints as
JSON how often each status came, and as `p99` what all but one in a hundred took. One thread and
bare sockets: what is measured is who answers, and not who asks.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

REQUEST = b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n"
_ANSWER_SECONDS_MAX = 30.0


@dataclass
class Heard:
    """What they were answered, and after how long."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """What all but one in a hundred took at most."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


class _Asking:
    """The connections, and when those were asked that have not answered."""

    def __init__(self, port: int, clients: int) -> None:
        self.heard = Heard()
        self._poll = select.epoll()
        self._lines = [
            socket.create_connection(("127.0.0.1", port), 20, (f"127.0.1.{number + 1}", 0))
            for number in range(clients)
        ]
        self._of = {one.fileno(): one for one in self._lines}
        self._asked: dict[int, float] = {}
        for line in self._lines:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(line, select.EPOLLIN)

    def ask(self, number: int) -> None:
        line = self._lines[number % len(self._lines)]
        if line.fileno() not in self._asked:  # who waits for an answer does not ask again
            self._asked[line.fileno()] = time.perf_counter()
            line.sendall(REQUEST)

    def hear(self, seconds: float) -> None:
        """What is answered until the first answer, or for *seconds*."""
        for line, _ in self._poll.poll(max(0.0, seconds)):
            head = self._of[line].recv(65_536)
            took = time.perf_counter() - self._asked.pop(line)
            self.heard.seconds.append(took)
            self.heard.statuses[int(head[9:12] or 0)] += 1

    def hear_rest(self) -> None:
        until = time.perf_counter() + _ANSWER_SECONDS_MAX
        while self._asked and (left := until - time.perf_counter()) > 0:
            self.hear(left)
        if self._asked:
            self.heard.statuses[0] += len(self._asked)


def behave(port: int, clients: int, pace: float, seconds: float) -> Heard:
    """What *clients* hear that ask *pace* times a second each, in turn."""
    asking = _Asking(port, clients)
    start = time.perf_counter()
    for turn in range(round(clients * pace * seconds)):
        due = start + turn / (clients * pace)
        while (left := due - time.perf_counter()) > 0:
            asking.hear(left)
        asking.ask(turn)
    asking.hear_rest()
    return asking.heard


if __name__ == "__main__":
    port, clients, pace, seconds = sys.argv[1:5]
    heard = behave(int(port), int(clients), float(pace), float(seconds))
    print(json.dumps({**heard.statuses, "p99": heard.p99}))

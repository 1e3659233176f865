"""What a request costs that is too many: told so, or its connection closed without a word.

The Envoy of a `moreton up` is flooded at three gateways in turn: one that serves all, one that
refuses all but a few with 429, one that takes few connections and closes the rest. CPU time is that
of the Envoy alone.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench.fleet import fleet
from bench.gateway import backend
from bench.processes import cpu_seconds
from bench.report import Result, median
from moreton.kernel.ports import free_port

_REQUEST = b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n"
_FEW = {"limit": "1/h", "burst": 1}


def run(*, quick: bool, console: Console) -> Result:
    """CPU of the proxy for each flooded request."""
    rounds, seconds = (2, 0.3) if quick else (9, 2.0)
    floods = {"served": _keeping, "refused with 429": _keeping, "429 on new connections": _new}
    floods["dropped"] = _new
    found: dict[str, list[float]] = {name: [] for name in floods}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(backend(folder, upstream))
        ports = [free_port() for _ in range(3)]
        made = stack.enter_context(fleet(folder / "fleet", _configuration(ports, upstream)))
        del made
        of = dict(zip(floods, (ports[0], ports[1], ports[1], ports[2]), strict=True))
        for number in range(rounds):
            console.print(f"cost of a flood: round {number + 1} of {rounds}")
            for name, flood in floods.items():
                before = cpu_seconds(of[name])
                count = flood(of[name], seconds)
                found[name].append((cpu_seconds(of[name]) - before) / count * 1e6)
    costs = {name: median(runs) for name, runs in found.items()}
    ratio = {
        "us of CPU, 429 / dropped, on new connections": costs["429 on new connections"]
        / costs["dropped"]
    }
    ours = {f"{name}, us of CPU a request": cost for name, cost in costs.items()}
    checks = {"a dropped request costs less than one that is refused": min(ratio.values()) > 1}
    return Result("gatewaylimits", "us", ours, {}, ratio, checks)


def _configuration(ports: list[int], upstream: int) -> dict[str, object]:
    listeners = {
        name: {"listeners": [{"address": f"127.0.0.1:{port}"}]}
        for name, port in zip(("serves", "refuses", "drops"), ports, strict=True)
    }
    return {
        "gateways": listeners,
        "services": {"app": {"addresses": [f"127.0.0.1:{upstream}"]}},
        "routes": {"everything": {"path": "/*", "to": "app"}},
        "limits": {
            "refused": {**_FEW, "by": "address", "match": {"gateways": "refuses"}},
            "dropped": {
                **_FEW,
                "count": "connections",
                "verdict": "drop",
                "match": {"gateways": "drops"},
            },
        },
    }


def _keeping(port: int, seconds: float) -> int:
    """Requests one after the other on one connection; how many."""
    count = 0
    until = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        while time.monotonic() < until:
            client.sendall(_REQUEST)
            client.recv(65_536)
            count += 1
    return count


def _new(port: int, seconds: float) -> int:
    """Each request on a connection of its own; how many."""
    count = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", port), 10) as client,
        ):
            client.sendall(_REQUEST)
            client.recv(65_536)
        count += 1
    return count

"""From the command `moreton up` to the first request that comes through, on a warm machine."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from bench import peers
from bench.fleet import fleet
from bench.processes import stop
from bench.report import Result, median
from moreton.kernel.ports import free_port

_WANTED_SECONDS = 1.5
_MAY_COMPILE = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run(*, quick: bool, console: Console) -> Result:
    """Start it again and again; Traefik and bare Envoy in turn."""
    rounds = 5 if quick else 15
    figures: dict[str, list[float]] = {"moreton": [], "traefik": [], "envoy": []}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(peers.backend(folder, upstream, "hello"))
        configuration = {
            "services": {"app": {"addresses": [f"127.0.0.1:{upstream}"]}},
            "routes": {"everything": {"path": "/*", "to": "app"}},
        }
        with fleet(folder / "moreton", configuration) as made:
            port = made.port  # once, so that files are warm and the state folder is there
        # Once more, to leave bytecode behind, as pip does with what it installs.
        _ours(folder / "moreton", port, _MAY_COMPILE)
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}", highlight=False)
            figures["moreton"].append(_ours(folder / "moreton", port))
            for name, start in (("traefik", peers.traefik), ("envoy", peers.bare_envoy)):
                figures[name].append(_peer(folder, start, upstream))
    ours = {"median": median(figures["moreton"]), "max": max(figures["moreton"])}
    rows = {n: {"median": median(v), "max": max(v)} for n, v in figures.items() if n != "moreton"}
    checks = {f"median <= {_WANTED_SECONDS} s": ours["median"] <= _WANTED_SECONDS}
    ratio = {name: row["median"] / ours["median"] for name, row in rows.items()}
    return Result("startup", "s", ours, dict(rows), ratio, checks)


def _ours(folder: Path, port: int, env: Mapping[str, str] | None = None) -> float:
    with (folder / "up.log").open("ab") as log:
        start = time.perf_counter()
        command = [sys.executable, "-m", "moreton.cli.main", "up"]
        child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=env)
        try:
            _wait_answer(port)
            return time.perf_counter() - start
        finally:
            stop(child, 20)


def _peer(folder: Path, start_peer: peers.Proxy, upstream: int) -> float:
    port = free_port()
    start = time.perf_counter()
    with start_peer(folder, port, upstream, None):
        _wait_answer(port)
        return time.perf_counter() - start


def _wait_answer(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.005)
    raise RuntimeError(f"nothing answered on port {port} within 30 s")

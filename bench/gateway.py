"""Requests a second and p99 through one proxy on one core, the same backend behind each.

The proxy has core 0; the load and the backend (an nginx that answers by itself, where there is one,
else an Envoy) have core 1. Ours is `moreton up` with its defaults (edge hardening, matcher trees,
retries); the control plane runs on core 1 and is idle. All proxies run at once, only one under
load. How many requests it serves is found in turns of a quarter of a second, each of a peer between
two of ours; the times that requests take are of rounds of a second and more, each begun by another
proxy: what comes first meets what else has just been started. All are started anew five times: one
start serves up to a tenth more than another, by where its memory lies.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import peers
from bench.fleet import fleet
from bench.processes import Missing, need, pin
from bench.report import Result, median
from bench.turns import CONNECTIONS, Turns, take_turns, under_load
from bench.wrk import WrkFigures, wrk
from moreton.kernel.ports import free_port

OURS = "moreton"
_PEERS: dict[str, peers.Proxy] = {
    "envoy": peers.bare_envoy,
    "traefik": peers.traefik,
    "caddy": peers.caddy,
    "nginx": peers.nginx,
    "haproxy": peers.haproxy,
}
_WANTED = {"envoy": 0.95, "traefik": 1.2, "caddy": 1.5}


@dataclass(frozen=True, slots=True)
class Size:
    """Of each start: rounds of latency, of so many seconds; turns."""

    rounds: int
    seconds: int
    turns: int


def run(*, quick: bool, console: Console) -> Result:
    """Measure ours and every peer that this machine has."""
    starts, size = (1, Size(2, 1, 6)) if quick else (5, Size(1, 2, 8))
    notes: list[str] = []
    times: dict[str, list[WrkFigures]] = {}
    turns = Turns()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(backend(folder, upstream))
        for number in range(starts):
            say = partial(console.print, f"start {number + 1} of {starts},", highlight=False)
            of_this = folder / str(number)
            of_this.mkdir()
            with contextlib.ExitStack() as proxies:
                ports, missing = _started(proxies, of_this, upstream)
                notes = notes or missing
                for name, runs in _latency(ports, size, number, say).items():
                    times.setdefault(name, []).extend(runs)
                against = dict.fromkeys([name for name in ports if name != OURS], OURS)
                told = partial(say, "requests a second,")
                turns.add(take_turns(under_load(ports), against, size.turns, told))
    return _result(turns, times, notes)


def _started(
    stack: contextlib.ExitStack, folder: Path, upstream: int
) -> tuple[dict[str, int], list[str]]:
    """The ports of all proxies, started anew; a note for each that this machine has not."""
    ports, missing = {OURS: _moreton(stack, folder, upstream)}, []
    for name, start in _PEERS.items():
        port = free_port()
        try:
            stack.enter_context(start(folder, port, upstream, "0"))
        except Missing as why:
            missing.append(f"not measured: {why}")
            continue
        ports[name] = port
    return ports, missing


def _latency(
    ports: Mapping[str, int], size: Size, start: int, say: Callable[[str], object]
) -> dict[str, list[WrkFigures]]:
    times: dict[str, list[WrkFigures]] = {name: [] for name in ports}
    names = list(ports)
    for number in range(size.rounds):
        say(f"latency, round {number + 1} of {size.rounds}")
        first = (start + number) % len(names)
        for name in names[first:] + names[:first]:
            url = f"http://127.0.0.1:{ports[name]}/"
            times[name].append(wrk(url, seconds=size.seconds, connections=CONNECTIONS, cores="1"))
    return times


def backend(folder: Path, port: int) -> AbstractContextManager[None]:
    """The lightest service that this machine has, on core 1."""
    try:
        need("nginx")
    except Missing:
        return peers.backend(folder, port, "hello", "1")
    return peers.light_backend(folder, port, "hello", "1")


def _moreton(stack: contextlib.ExitStack, folder: Path, upstream: int) -> int:
    configuration = {
        "services": {"app": {"addresses": [f"127.0.0.1:{upstream}"]}},
        "routes": {"everything": {"path": "/*", "to": "app"}},
    }
    made = stack.enter_context(fleet(folder / "moreton", configuration, cores="1"))
    pin(made.envoy_pid(), {0})
    return made.port


def _result(turns: Turns, times: dict[str, list[WrkFigures]], notes: list[str]) -> Result:
    rows = {
        name: {
            "rps": median([turn.rps for turn in turns.taken[name]]),
            "per_cpu_second": 1e6 / median([turn.cost for turn in turns.taken[name]]),
            "p50_ms": median([run.p50_ms for run in runs]),
            "p99_ms": median([run.p99_ms for run in runs]),
            "failures": sum(run.failures for run in runs),
        }
        for name, runs in times.items()
    }
    ours = rows.pop(OURS)
    # What a peer serves less than ours, ours serves more.
    ratio = {name: 1 / (1 - turns.lost(name)) for name in turns.held}
    by_cpu = {f"{name}, per CPU": 1 / (1 - turns.lost_cpu(name)) for name in turns.held}
    checks = {
        f"requests/s of moreton / {name} >= {wanted}": ratio[name] >= wanted
        for name, wanted in _WANTED.items()
        if name in ratio
    }
    checks["no failed request"] = ours["failures"] + turns.failures == 0
    return Result("gateway", "requests/s", ours, dict(rows), ratio | by_cpu, checks, notes)

"""Requests a second and p99 through one proxy on one core, the same backend behind each.

The proxy has core 0; wrk and the backend (an nginx that answers by itself, where there is one, else
an Envoy) have core 1. On a machine that others use too, `per_cpu_second` tells more: requests per
second of CPU time that the proxy took. Ours is
`moreton up` with its defaults (edge hardening, matcher trees, retries); the control plane runs on
core 1 and is idle. All proxies run at once, only one under load, round after round.
"""

from __future__ import annotations

import contextlib
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console

from bench import peers
from bench.fleet import fleet
from bench.processes import Missing, cpu_seconds, need, pin
from bench.report import Result, median
from bench.wrk import WrkFigures, wrk
from moreton.kernel.ports import free_port

_CONNECTIONS = 32
_PEERS: dict[str, peers.Proxy] = {
    "envoy": peers.bare_envoy,
    "traefik": peers.traefik,
    "caddy": peers.caddy,
    "nginx": peers.nginx,
    "haproxy": peers.haproxy,
}
_WANTED = {"envoy": 0.95, "traefik": 1.2, "caddy": 1.5}


def run(*, quick: bool, console: Console) -> Result:
    """Measure ours and every peer that this machine has."""
    rounds, seconds = (3, 1) if quick else (7, 4)
    notes = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(backend(folder, upstream))
        ports = {"moreton": _moreton(stack, folder, upstream)}
        for name, start in _PEERS.items():
            port = free_port()
            try:
                stack.enter_context(start(folder, port, upstream, "0"))
            except Missing as missing:
                notes.append(f"not measured: {missing}")
                continue
            ports[name] = port
        figures: dict[str, list[WrkFigures]] = {name: [] for name in ports}
        cpu: dict[str, list[float]] = {name: [] for name in ports}
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}", highlight=False)
            for name, port in ports.items():
                url = f"http://127.0.0.1:{port}/"
                before = cpu_seconds(port)
                run = wrk(url, seconds=seconds, connections=_CONNECTIONS, cores="1")
                cpu[name].append(run.rps * seconds / (cpu_seconds(port) - before))
                figures[name].append(run)
    return _result(figures, cpu, notes)


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


def _result(
    figures: dict[str, list[WrkFigures]], cpu: dict[str, list[float]], notes: list[str]
) -> Result:
    rows = {
        name: {
            "rps": median([run.rps for run in runs]),
            "rps_min": min(run.rps for run in runs),
            "rps_max": max(run.rps for run in runs),
            "p50_ms": median([run.p50_ms for run in runs]),
            "p99_ms": median([run.p99_ms for run in runs]),
            "per_cpu_second": median(cpu[name]),
            "failures": sum(run.failures for run in runs),
        }
        for name, runs in figures.items()
    }
    ours = rows.pop("moreton")
    # The ratio pair by pair within a round: the machine's speed drifts between rounds.
    ratio = {
        name: median([a.rps / b.rps for a, b in zip(figures["moreton"], runs, strict=True)])
        for name, runs in figures.items()
        if name != "moreton"
    }
    checks = {
        f"requests/s of moreton / {name} >= {wanted}": ratio[name] >= wanted
        for name, wanted in _WANTED.items()
        if name in ratio
    }
    checks["no failed request"] = ours["failures"] == 0
    return Result("gateway", "requests/s", ours, dict(rows), ratio, checks, notes)

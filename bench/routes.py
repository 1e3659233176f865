"""5,000 routes: what the last costs beside the first, and what all cost the control plane.

Ours is `moreton up` with 5,000 routes in `moreton.yaml`; the peers are Traefik with 5,000 routers
and Envoy with 5,000 routes as a list, which is how most control planes write them. The first and
the last route are asked in turn, round after round.
"""

from __future__ import annotations

import contextlib
import gc
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from rich.console import Console

from bench import peers
from bench.fleet import Fleet, fleet
from bench.processes import resident_mib
from bench.report import Result, median
from bench.wrk import WrkFigures, mean, wrk
from moreton.controlplane.settings import load_settings
from moreton.gateway.compile import GatewayCompiler
from moreton.kernel.ports import free_port

_ROUTES = 5000
_CONNECTIONS = 16


def run(*, quick: bool, console: Console) -> Result:
    """Measure the proxies, then the compiler and the control plane's size."""
    rounds, seconds = (2, 1) if quick else (9, 2)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = free_port()
        stack.enter_context(peers.backend(folder, upstream, "hello", "1"))
        configuration = {
            "services": {"app": {"addresses": [f"127.0.0.1:{upstream}"]}},
            "routes": {f"r{n}": {"path": f"/api/r{n}/*", "to": "app"} for n in range(_ROUTES)},
        }
        made = stack.enter_context(fleet(folder / "moreton", configuration))
        ports = {"moreton": made.port}
        prefixes = [f"/api/r{number}/" for number in range(_ROUTES)]
        for name, start in (("traefik", peers.traefik), ("envoy list", peers.bare_envoy)):
            ports[name] = free_port()
            stack.enter_context(start(folder, ports[name], upstream, None, prefixes))
        runs = {name: _first_and_last(port) for name, port in ports.items()}
        figures: dict[str, list[tuple[WrkFigures, WrkFigures]]] = {n: [] for n in ports}
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}", highlight=False)
            for name, measure in runs.items():
                figures[name].append(measure(seconds))
        ours = _proxy(figures.pop("moreton")) | _control_plane(made)
    ours |= _compiler(configuration, 3 if quick else 9)
    rows = {name: _proxy(pairs) for name, pairs in figures.items()}
    checks = {
        "the last route has >= 1/1.05 of the first's requests/s": ours["rps_share"] >= 1 / 1.05,
        "the last route's p50 is <= 1.05 x the first's": ours["p50_ratio"] <= 1.05,
        "full compile <= 300 ms": ours["compile_ms"] <= 300,
        "one change compiles in <= 2 ms": ours["change_ms"] <= 2,
        "control plane <= 150 MiB resident": ours["control_plane_mib"] <= 150,
        "fewer than 2,000 time series": ours["series"] < 2000,
    }
    ratio = {name: ours["last_rps"] / row["last_rps"] for name, row in rows.items()}
    return Result("routes", "5,000 routes", ours, dict(rows), ratio, checks)


def _first_and_last(port: int) -> Callable[[int], tuple[WrkFigures, WrkFigures]]:
    def one(name: str, seconds: int) -> WrkFigures:
        url = f"http://127.0.0.1:{port}/api/{name}/x"
        return wrk(url, seconds=seconds, connections=_CONNECTIONS, cores="1")

    def measure(seconds: int) -> tuple[WrkFigures, WrkFigures]:
        # To and fro, so that a machine which becomes faster or slower meanwhile favours neither.
        order = ("r0", f"r{_ROUTES - 1}", f"r{_ROUTES - 1}", "r0")
        first, last, last_again, first_again = (one(name, seconds) for name in order)
        return mean(first, first_again), mean(last, last_again)

    return measure


def _proxy(pairs: list[tuple[WrkFigures, WrkFigures]]) -> dict[str, float]:
    return {
        "first_rps": median([first.rps for first, _ in pairs]),
        "last_rps": median([last.rps for _, last in pairs]),
        "rps_share": median([last.rps / first.rps for first, last in pairs]),
        "first_p50_ms": median([first.p50_ms for first, _ in pairs]),
        "last_p50_ms": median([last.p50_ms for _, last in pairs]),
        "p50_ratio": median([last.p50_ms / first.p50_ms for first, last in pairs]),
        "failures": float(sum(first.failures + last.failures for first, last in pairs)),
    }


def _control_plane(made: Fleet) -> dict[str, float]:
    assert made.child is not None
    metrics = made.client.get("/metrics")
    if metrics.status_code != httpx.codes.OK:
        raise RuntimeError(f"/metrics: {metrics.status_code} {metrics.text}")
    series = [line for line in metrics.text.splitlines() if line and not line.startswith("#")]
    return {"control_plane_mib": resident_mib(made.child.pid), "series": float(len(series))}


def _compiler(configuration: dict[str, object], rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        document = {
            "version": 1,
            "gateways": {"public": {"listeners": [{"address": "127.0.0.1:8080"}]}},
            **configuration,
        }
        path = Path(folder) / "moreton.yaml"
        path.write_text(json.dumps(document))
        start = time.perf_counter()
        settings = load_settings(path)
        load_ms = (time.perf_counter() - start) * 1000
        full, change = [], []
        for _ in range(rounds):
            gc.collect()
            gc.disable()  # as in `moreton up` until all is loaded
            start = time.perf_counter()
            compiler = GatewayCompiler()
            for gateway in settings.gateways.values():
                compiler.put_gateway(gateway)
            for service in settings.services.values():
                compiler.put_service(service)
            for route in settings.routes.values():
                compiler.put_route(route)
            compiler.take()
            full.append((time.perf_counter() - start) * 1000)
            gc.enable()
            for name in ("r0", "r2500", f"r{_ROUTES - 1}"):
                route = settings.routes[name]
                compiler.remove_route(name)
                compiler.take()
                start = time.perf_counter()
                compiler.put_route(route)
                compiler.take()
                change.append((time.perf_counter() - start) * 1000)
    return {"compile_ms": median(full), "change_ms": median(change), "load_ms": load_ms}

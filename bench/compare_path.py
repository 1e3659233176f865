"""What comparing costs those who ask: every request copied, in turns with none.

Envoy, the application and the load share one core; the candidate and the collector the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.compare_shop import page
from bench.fleet import Fleet, configured, fleet
from bench.processes import need, pin, resident_mib, running
from bench.wrk import WrkFigures, wrk
from moreton.kernel.ports import free_port

# Many short ones: the machine's speed changes within seconds.
_ROUNDS, _ROUND_SECONDS = 20, 2
_CONNECTIONS = 4
_WAIT_SECONDS_MAX = 30.0
P99_RATIO_MAX = 1.05
RATE_RATIO_MIN = 0.95


@dataclass(slots=True)
class PathFigures:
    """What was measured, as `Result` has it."""

    ours: dict[str, float | int]
    checks: dict[str, bool]


def user_path(*, quick: bool, console: Console) -> PathFigures:
    """With and without, then with a collector that is flooded, frozen, killed."""
    seconds = 2 if quick else 5
    with tempfile.TemporaryDirectory() as name, _made(Path(name)) as (made, document):
        plain, copied = _in_turns(made, document, 3 if quick else _ROUNDS, console)
        ours, checks = _judged(plain, copied)
        _share(made, document, "100%")
        for what, figures, grown in _troubles(made, seconds, console):
            ours[f"{what}: failed requests"] = figures.failures
            ours[f"{what}: requests/s"] = round(figures.rps)
            ours[f"{what}: Envoy grew by, MiB"] = round(grown, 1)
            checks[f"{what}: 0 failed requests"] = figures.failures == 0
        for route in ("shop", "light"):
            counts = _comparison(made, route)["counts"]
            ours.update({f"{route}: {key}": counts[key] for key in ("compared", "dropped")})
            checks[f"{route}: some requests were compared"] = counts["compared"] > 0
        return PathFigures(ours, checks)


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[tuple[Fleet, dict[str, Any]]]:
    shop, new, light = free_port(), free_port(), free_port()
    command = [sys.executable, "-m", "bench.compare_shop", str(shop)]
    compare = {"candidate": "new", "side_effects": "none", "ask_twice": "0%"}
    document: dict[str, Any] = {
        "services": {
            name: {"addresses": [f"127.0.0.1:{port}"]}
            for name, port in (("shop", shop), ("new", new), ("light", light))
        },
        "routes": {
            "shop": {"path": "/shop/*", "to": "shop"},
            "light": {"path": "/light/*", "to": "light"},
        },
        "compare": {"shop": dict(compare), "light": dict(compare)},
    }
    with (
        running(command, log=folder / "shop.log", port=shop, cores="0"),
        _light(folder, new, "1"),
        _light(folder, light, "0"),
        fleet(folder / "moreton", document, cores="0") as made,
    ):
        pin(_collector(made), {1})
        yield made, document


@contextlib.contextmanager
def _light(folder: Path, port: int, cores: str) -> Iterator[None]:
    """An nginx that answers as the application does, and does nothing for it."""
    home = folder / str(port)
    folder.chmod(0o755)  # nginx gives up its rights
    home.mkdir()
    (home / "page.json").write_bytes(page())
    path = home / "nginx.conf"
    path.write_text(
        f"daemon off; worker_processes 1; pid {home}/nginx.pid; error_log stderr;\n"
        "events { worker_connections 4096; }\n"
        "http { access_log off; keepalive_requests 100000000; default_type application/json;\n"
        f" client_body_temp_path {home}; proxy_temp_path {home};\n"
        f" fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home};\n"
        f" server {{ listen 127.0.0.1:{port}; root {home};\n"
        " location / { try_files /page.json =404; } } }\n"
    )
    command = [need("nginx"), "-c", str(path), "-p", str(home)]
    with running(command, log=home / "log", port=port, cores=cores):
        yield


def _in_turns(
    made: Fleet, document: dict[str, Any], rounds: int, console: Console
) -> tuple[list[WrkFigures], list[WrkFigures]]:
    found: dict[str, list[WrkFigures]] = {"0%": [], "100%": []}
    for number in range(rounds):
        for share in ("0%", "100%") if number % 2 else ("100%", "0%"):
            _share(made, document, share)
            url = f"{made.url}/shop/x"
            figures = wrk(url, seconds=_ROUND_SECONDS, connections=_CONNECTIONS, cores="0")
            console.print(f"{share} copied: {figures}", style="dim")
            found[share].append(figures)
    return found["0%"], found["100%"]


def _judged(
    plain: list[WrkFigures], copied: list[WrkFigures]
) -> tuple[dict[str, float | int], dict[str, bool]]:
    pairs = list(zip(plain, copied, strict=True))
    rate = statistics.median(new.rps / old.rps for old, new in pairs)
    p99 = statistics.median(new.p99_ms / old.p99_ms for old, new in pairs)
    ours: dict[str, float | int] = {
        "nothing copied: requests/s": round(statistics.median(one.rps for one in plain)),
        "all copied: requests/s": round(statistics.median(one.rps for one in copied)),
        "nothing copied: p99, ms": round(statistics.median(one.p99_ms for one in plain), 2),
        "all copied: p99, ms": round(statistics.median(one.p99_ms for one in copied), 2),
        "throughput ratio": round(rate, 3),
        "p99 ratio": round(p99, 3),
    }
    failures = sum(one.failures for one in (*plain, *copied))
    checks = {
        f"all copied: throughput ratio of {RATE_RATIO_MIN} or more": rate >= RATE_RATIO_MIN,
        f"all copied: p99 ratio of {P99_RATIO_MAX} or less": p99 <= P99_RATIO_MAX,
        "all copied: 0 failed requests": failures == 0,
    }
    return ours, checks


def _troubles(
    made: Fleet, seconds: int, console: Console
) -> Iterator[tuple[str, WrkFigures, float]]:
    envoy = made.envoy_pid()
    for what, number, path in (
        ("flooded", None, "light"),
        ("frozen", signal.SIGSTOP, "light"),
        ("killed", signal.SIGKILL, "light"),
    ):
        _wait(lambda: _comparison(made, "light")["share"] == 1.0)
        pid, before = _collector(made), resident_mib(envoy)
        if number is not None:
            os.kill(pid, number)
        figures = wrk(f"{made.url}/{path}/x", seconds=seconds, connections=16, cores="0")
        grown = resident_mib(envoy) - before
        if number is signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
        console.print(f"{what}: {figures}, Envoy grew by {grown:.1f} MiB", style="dim")
        yield what, figures, grown


def _share(made: Fleet, document: dict[str, Any], share: str) -> None:
    for one in document["compare"].values():
        one["share"] = share
    configured(made, document)
    wanted = float(share.rstrip("%")) / 100
    _wait(lambda: all(_comparison(made, name)["share"] == wanted for name in ("shop", "light")))
    time.sleep(0.5)  # what is published reaches Envoy, and what waited is through


def _comparison(made: Fleet, route: str) -> Any:
    found: Any = made.call("GET", "/v1/comparisons")
    return next(one for one in found if one["route"] == route)


def _collector(made: Fleet) -> int:
    file = made.folder / ".moreton" / "compare.json"
    _wait(file.exists)
    return int(json.loads(file.read_text())["pid"])


def _wait(is_so: Any) -> None:
    until = time.monotonic() + _WAIT_SECONDS_MAX
    while not is_so():
        if time.monotonic() > until:
            raise RuntimeError("what was waited for did not come")
        time.sleep(0.05)

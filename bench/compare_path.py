"""What comparing costs those who ask: a route of which all is copied, in turns with one without.

Envoy, the application and the load share one core; the candidate and the collector the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.compare_shop import page
from bench.fleet import Fleet, fleet
from bench.h2load import h2load
from bench.processes import cpu_seconds_of, listening, need, pin, resident_mib, running
from bench.report import median, percentile
from bench.turns import Turn, Turns, take_turns
from bench.wrk import WrkFigures, wrk
from moreton.kernel.ports import free_port

# Two routes of the same application.
_COPIED, _PLAIN = "shop", "plain"
_TURNS, _TURN_SECONDS = 160, 0.5
# Rounds whose slowest answers are held against each other: of all rounds at once, the slowest ones
# are those of the minute in which the machine was slowest, whoever had more turns then.
_BLOCK = 20
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
    with tempfile.TemporaryDirectory() as name, _made(Path(name)) as (made, shop):
        _wait(lambda: all(_comparison(made, each)["share"] == 1.0 for each in ("shop", "light")))
        ours, checks = _in_turns(made, shop, 6 if quick else _TURNS, console)
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
def _made(folder: Path) -> Iterator[tuple[Fleet, int]]:
    """The fleet, and the port of the application behind it."""
    shop, new, light = free_port(), free_port(), free_port()
    command = [sys.executable, "-m", "bench.compare_shop", str(shop)]
    compare = {"candidate": "new", "side_effects": "none", "ask_twice": "0%", "share": "100%"}
    document: dict[str, Any] = {
        "services": {
            name: {"addresses": [f"127.0.0.1:{port}"]}
            for name, port in (("shop", shop), ("new", new), ("light", light))
        },
        "routes": {
            _COPIED: {"path": "/shop/*", "to": "shop"},
            _PLAIN: {"path": "/plain/*", "to": "shop"},
            "light": {"path": "/light/*", "to": "light"},
        },
        "compare": {_COPIED: compare, "light": compare},
    }
    with (
        running(command, log=folder / "shop.log", port=shop, cores="0"),
        _light(folder, new, "1"),
        _light(folder, light, "0"),
        fleet(folder / "moreton", document, cores="0") as made,
    ):
        pin(_collector(made), {1})
        yield made, shop


@contextlib.contextmanager
def _light(folder: Path, port: int, cores: str) -> Iterator[None]:
    """An nginx that answers as the application does, and does nothing for it."""
    home = folder / str(port)
    home.mkdir()
    (home / "page.json").write_bytes(page())
    path = home / "nginx.conf"
    path.write_text(
        f"daemon off; master_process off; pid {home}/nginx.pid; error_log stderr;\n"
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
    made: Fleet, shop: int, turns: int, console: Console
) -> tuple[dict[str, float | int], dict[str, bool]]:
    """The same application by two routes, of which one is copied."""
    pids = [made.envoy_pid(), *listening(shop)]
    times: dict[str, list[tuple[float, ...]]] = {_PLAIN: [], _COPIED: []}

    def take(name: str) -> tuple[Turn, int]:
        before = cpu_seconds_of(pids)
        log = made.folder / "times"
        url = f"{made.url}/{name}/x"
        run = h2load(url, seconds=_TURN_SECONDS, connections=_CONNECTIONS, cores="0", log=log)
        times[name].append(run.times)
        spent = cpu_seconds_of(pids) - before
        return Turn(run.rps, spent / max(1, run.done) * 1e6), run.failures

    say = partial(console.print, "turns,", style="dim")
    return _judged(take_turns(take, {_COPIED: _PLAIN}, turns, say), times)


def _judged(
    turns: Turns, times: dict[str, list[tuple[float, ...]]]
) -> tuple[dict[str, float | int], dict[str, bool]]:
    p99s = _p99s(times)
    ratios = [copied / plain for plain, copied in zip(p99s[_PLAIN], p99s[_COPIED], strict=True)]
    rate, p99 = 1 - turns.lost(_COPIED), median(ratios)
    ours: dict[str, float | int] = {}
    for name, said in ((_PLAIN, "nothing copied"), (_COPIED, "all copied")):
        ours[f"{said}: requests/s"] = round(median([turn.rps for turn in turns.taken[name]]))
        ours[f"{said}: us of CPU"] = round(median([turn.cost for turn in turns.taken[name]]))
        ours[f"{said}: p99, ms"] = round(median(p99s[name]), 2)
    ours["throughput ratio"] = round(rate, 3)
    for end, share in zip(("from", "to"), turns.kept(_COPIED), strict=True):
        ours[f"throughput ratio, 95 % {end}"] = round(share, 3)
    ours["throughput ratio, by CPU"] = round(1 - turns.lost_cpu(_COPIED), 3)
    ours["p99 ratio"] = round(p99, 3)
    at_once = {name: percentile(list(chain(*taken)), 0.99) for name, taken in times.items()}
    ours["p99 ratio, of all answers at once"] = round(at_once[_COPIED] / at_once[_PLAIN], 3)
    ours["p99 ratio, least of its blocks"] = round(min(ratios), 3)
    ours["p99 ratio, most of its blocks"] = round(max(ratios), 3)
    checks = {
        f"all copied: throughput ratio of {RATE_RATIO_MIN} or more": rate >= RATE_RATIO_MIN,
        f"all copied: p99 ratio of {P99_RATIO_MAX} or less": p99 <= P99_RATIO_MAX,
        "all copied: 0 failed requests": turns.failures == 0,
    }
    return ours, checks


def _p99s(times: dict[str, list[tuple[float, ...]]]) -> dict[str, list[float]]:
    """Of each block of rounds, by name; *times* are those of each turn."""
    found: dict[str, list[float]] = {}
    for name, taken in times.items():
        size = _BLOCK * len(taken) // len(times[_COPIED])  # one has more turns in a round
        blocks = [chain(*taken[at : at + size]) for at in range(0, len(taken), size)]
        found[name] = [percentile(list(block), 0.99) for block in blocks]
    return found


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

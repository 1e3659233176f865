"""Ours and the peers, each asked in its quickest way whether a key may pass."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from moreton.ratelimit import Gcra, LocalLimiter

OURS = "moreton"
Ask = Callable[[], Any]
Make = Callable[[Sequence[str], int, bool], Ask]

# How many in how many seconds: more than a run can use, and rising as some peers want it.
_RATES = [(10**6, 1), (10**7, 60), (10**8, 3600), (5 * 10**8, 86_400), (10**9, 864_000)]
_MORE = 10**7  # keys that a peer must not forget


def _rates(count: int) -> list[tuple[int, int]]:
    """The last *count*: the one that refuses, where one does, is the last that is looked at."""
    return _RATES[-count:]


def moreton(keys: Sequence[str], limits: int, deny: bool) -> Ask:  # noqa: FBT001 - of one shape
    rates = [Gcra(f"{count}/{seconds}s", name=str(count)) for count, seconds in _rates(limits)]
    limiter = LocalLimiter(*rates, keys_max=len(keys))
    last: Any = limiter._tables[-1].states  # noqa: SLF001
    for key in keys:
        limiter.allow(key)
        if deny:
            # A charge would use up all five.
            last[key] = 2**62
    allow, following = limiter.allow, itertools.cycle(keys).__next__

    def ask() -> bool:
        return allow(following())

    return ask


def limits(keys: Sequence[str], count: int, deny: bool) -> Ask:  # noqa: FBT001
    module = importlib.import_module("limits")
    strategy = module.strategies.FixedWindowRateLimiter(module.storage.MemoryStorage())
    items = [module.RateLimitItemPerSecond(many, per) for many, per in _rates(count)]
    for key in keys:
        for item in items:
            strategy.hit(item, key)
        if deny:
            strategy.hit(items[-1], key, cost=items[-1].amount)
    hit, following = strategy.hit, itertools.cycle(keys).__next__
    (only, *more) = items
    if not more:
        return lambda: hit(only, following())

    def ask() -> bool:
        key = following()
        for item in items:  # noqa: SIM110 - as quick as it gets
            if not hit(item, key):
                return False
        return True

    return ask


def pyrate_limiter(keys: Sequence[str], count: int, deny: bool) -> Ask:  # noqa: FBT001
    module = importlib.import_module("pyrate_limiter")
    rates = [module.Rate(many, per * 1000) for many, per in _rates(count)]
    buckets = {key: module.StateBucket(rates, module.GCRA()) for key in keys}
    item, following = module.RateItem, itertools.cycle(keys).__next__
    for key, bucket in buckets.items():
        bucket.put(item(key, bucket.now()))
        if deny:
            bucket.store._state = (*bucket.store._state[:-1], 2**62)  # noqa: SLF001 - as ours

    def ask() -> Any:
        key = following()
        bucket = buckets[key]
        return bucket.put(item(key, bucket.now()))

    return ask


def throttled(keys: Sequence[str], count: int, deny: bool) -> Ask:  # noqa: FBT001
    module = importlib.import_module("throttled")
    store = module.MemoryStore(options={"MAX_SIZE": _MORE})
    limiters = []
    for many, per in _rates(count):
        quota = module.per_duration(timedelta(seconds=per), many, burst=many)
        kind = module.RateLimiterType.FIXED_WINDOW.value
        limiters.append(
            module.Throttled(using=kind, quota=quota, store=store, key_prefix=f"p{per}")
        )
    for key in keys:
        for limiter in limiters:
            limiter.limit(key)
        if deny:
            limiters[-1].limit(key, cost=_rates(count)[-1][0] - 1)
    following = itertools.cycle(keys).__next__
    only = limiters[0].limit
    if count == 1:
        return lambda: not only(following()).limited

    def ask() -> bool:
        key = following()
        for limiter in limiters:  # noqa: SIM110 - as quick as it gets
            if limiter.limit(key).limited:
                return False
        return True

    return ask


def aiolimiter(keys: Sequence[str], count: int, deny: bool) -> Ask:  # noqa: FBT001
    module = importlib.import_module("aiolimiter")
    rates = _rates(count)
    made = {key: [module.AsyncLimiter(many, per) for many, per in rates] for key in keys}
    following = itertools.cycle(keys).__next__
    if deny:
        for row in made.values():
            row[-1]._level = float(row[-1].max_rate)  # noqa: SLF001 - a coroutine for each key else
            row[-1]._last_check = asyncio.get_running_loop().time()  # noqa: SLF001

        def ask_room() -> bool:
            for limiter in made[following()]:  # noqa: SIM110 - as quick as it gets
                if not limiter.has_capacity():
                    return False
            return True

        return ask_room

    async def ask() -> None:
        for limiter in made[following()]:
            await limiter.acquire()

    return ask


CONTENDERS: dict[str, Make] = {
    OURS: moreton,
    "limits": limits,
    "pyrate-limiter": pyrate_limiter,
    "throttled-py": throttled,
    "aiolimiter": aiolimiter,
}


async def answer(ask: Ask) -> Any:
    """What a contender says, once."""
    found = ask()
    return await found if inspect.isawaitable(found) else found

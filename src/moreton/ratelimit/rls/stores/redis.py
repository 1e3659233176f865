"""Counts that many machines share, in a Redis or Valkey."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import resources
from typing import Any

from redis import RedisError

from moreton.kernel.arguments import check_duration, check_kind
from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.limit import NEVER, Limit
from moreton.ratelimit.errors import LimitStoreUnavailable
from moreton.ratelimit.redis.clients import Clients
from moreton.ratelimit.redis.outage import Outage
from moreton.ratelimit.redis.script import ANY, OTHER_TIME, check_supported, words
from moreton.ratelimit.redis.wire import Arguments, Script, arguments_of
from moreton.ratelimit.rls.core.settling import Ask, Settled, Verdict
from moreton.ratelimit.rls.stores.over import OverLimits
from moreton.ratelimit.rls.stores.store import Store, identity

_log = logging.getLogger("moreton.ratelimit")
_BUDGET = timedelta(milliseconds=50)
_FAILURES = (RedisError, OSError, TimeoutError)
_VERDICT = 5  # numbers of each in a reply
# The kinds of limits stand before it.
_DECIDES = "local limits, place = {}, 5"


def _script() -> Script:
    kinds, found, _ = ANY.text.partition(_DECIDES)
    assert found
    text = resources.files("moreton.ratelimit.rls.stores").joinpath("settle.lua").read_text("utf-8")
    whole = kinds + text
    return Script(whole, hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest())


SETTLE = _script()


class RedisStore(Store):
    """All count together that give the same *url* and *name*: one trip for all descriptors.

    By the server's clock, atomically. A decision takes no longer than *budget*, and nothing is
    asked twice, so that nobody pays twice. While the server is away one request in a while asks it,
    and all others hear at once that it is. Who is over is remembered here until it is not. All of a
    domain is in one slot of a cluster.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "rls",
        budget: timedelta = _BUDGET,
        clock: LimitClock = SYSTEM,
    ) -> None:
        super().__init__(clock)
        check_kind("url", url, str, "a URL, as 'redis://127.0.0.1:6379/0'")
        check_duration("budget", budget, "the server could never answer")
        self._clients = Clients(url, budget.total_seconds())
        self._name = name
        self._outage = Outage()
        self._over = OverLimits()
        self._skew = 0  # by how many nanoseconds the server's calendar is ahead of ours
        self._at: Callable[[], int] = lambda: 0  # the time to decide at: that of the server

    async def settle(self, domain: str, asks: Sequence[Ask]) -> Settled:
        """See `Store.settle`."""
        now = self.clock.monotonic()
        known = self._over.find(domain, asks, now)
        if known is not None:
            return known
        if not self._outage.may_ask(now):
            raise LimitStoreUnavailable("the store of the limits is away: nothing was counted")
        names = [
            f"moreton:{{{self._name}:{domain}}}:{identity(one.limit)}:{one.key}" for one in asks
        ]
        try:
            reply = await self._clients.run_async(SETTLE, names, self._arguments(asks))
            if int(reply[0]) == OTHER_TIME:
                self._skew = int(reply[1]) * 1000 - self.clock.calendar()
                reply = await self._clients.run_async(SETTLE, names, self._arguments(asks))
        except _FAILURES as error:
            raise self._failed(error) from error
        if self._outage.answered():
            _log.warning("the store of rate limits answers again")
        settled = _settled(reply)
        self._over.add(domain, asks, settled, now)
        return settled

    def check(self, limit: Limit) -> None:
        """See `Store.check`."""
        check_supported(limit)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._clients.aclose()

    def _failed(self, error: Exception) -> LimitStoreUnavailable:
        reason = str(error) or type(error).__name__
        if self._outage.failed(self.clock.monotonic()):
            _log.error("the store of rate limits failed: %s", reason)
        return LimitStoreUnavailable(
            f"the store of the limits did not answer: {reason}: the request may have been counted; "
            "see that Redis runs and is not overloaded"
        )

    def _arguments(self, asks: Sequence[Ask]) -> Arguments:
        at = self._at()
        calendar = at or self.clock.calendar() + self._skew
        found: list[Any] = ["settle", 0, 0, at // 1000]
        for ask in asks:
            kind, numbers = words(ask.limit, calendar)
            flags = [int(one) for one in (ask.shadow, ask.quota, ask.drains, ask.report)]
            told = [kind, ask.cost, ask.reserve, ask.patience_nanos // 1000]
            found += [*told, *flags, ask.taken // 1000, len(numbers), *numbers]
        return arguments_of(found)


def _settled(reply: Sequence[Any]) -> Settled:
    rows = [reply[place : place + _VERDICT] for place in range(3, len(reply), _VERDICT)]
    verdicts = tuple(
        Verdict(
            over=bool(int(over)),
            left_before=int(before),
            left=int(left),
            reset_nanos=int(reset) * 1000,
            wait_nanos=NEVER if int(wait) == NEVER else int(wait) * 1000,
        )
        for before, left, reset, wait, over in rows
    )
    return Settled(verdicts, bool(int(reply[0])), int(reply[2]) * 1000, int(reply[1]) * 1000)

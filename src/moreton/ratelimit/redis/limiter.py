"""The limiter whose states are in a Redis or Valkey: one trip for a decision over all limits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from redis import RedisError

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import nanos_of
from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.calendar import CalendarWindow
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.core.rules.values import FailMode
from moreton.ratelimit.core.scaling import scaled
from moreton.ratelimit.errors import LimitStoreUnavailable
from moreton.ratelimit.limiter import Keys, Limiter, LimiterStatistics, Question
from moreton.ratelimit.local import LocalLimiter
from moreton.ratelimit.redis.clients import Clients
from moreton.ratelimit.redis.outage import ASK_AGAIN_NANOS, Outage
from moreton.ratelimit.redis.refusals import Asked, Refusals
from moreton.ratelimit.redis.script import (
    ALLOWED,
    MOMENTS,
    OTHER_TIME,
    WINDOWS,
    check_supported,
    decision_of,
    moment_arguments,
    numbers_of,
    script_for,
    window_arguments,
    words,
)
from moreton.ratelimit.redis.together import Joint, Part, one_by_one, one_by_one_async
from moreton.ratelimit.redis.wire import Arguments, Script, arguments_of
from moreton.ratelimit.turns import WAITING_MAX

_log = logging.getLogger("moreton.ratelimit")
_ZERO = timedelta(0)
_BUDGET = timedelta(milliseconds=100)
_SECOND = timedelta(seconds=1)
# What is in braces says in which slot of a cluster it is; with a letter, as nothing is no tag.
_OF_KEY = b"moreton:{k%b}%b"
_FAILURES = (RedisError, OSError, TimeoutError)


class RedisLimiter(Limiter):
    """*limits* that everybody counts together who gives the same *url* and *name*.

    By the server's clock, in one trip for all limits, atomically. What is refused is remembered
    here for as long as it is, up to *remember*, and costs no trip meanwhile. A decision takes no
    longer than *budget*: then, and while the server is down, *fail* decides. Nothing is asked
    twice, so nobody pays twice; what was on its way when the time was over may have been charged.

    In a cluster (`redis+cluster://…`) the keys of a decision have to be in one slot. They are when
    each decision has one key. With a key for each limit say *one_slot*: then all of *name* is.
    """

    def __init__(
        self,
        url: str,
        *limits: Limit,
        name: str = "limits",
        fail: FailMode | None = None,
        budget: timedelta = _BUDGET,
        remember: timedelta = _SECOND,
        one_slot: bool = False,
        waiting_max: int = WAITING_MAX,
        clock: LimitClock = SYSTEM,
        rng: Rng | None = None,
    ) -> None:
        check_kind("url", url, str, "a URL, as 'redis://127.0.0.1:6379/0'")
        super().__init__(limits, clock=clock, waiting_max=waiting_max)
        check_duration("budget", budget, "the server could never answer")
        check_kind("fail", fail or FailMode.open(), FailMode, "a FailMode, as FailMode.closed()")
        for limit in self.limits:
            check_supported(limit)
        self._clients = Clients(url, budget.total_seconds())
        alone = self._clients.is_cluster or any(limit.patience_nanos for limit in self.limits)
        self._store = None if alone else (url, budget)
        self._fail = fail or FailMode.open()
        self._local = self._alone()
        self._outage = Outage()
        self._refusals = Refusals(remember)
        self._rng = rng or system_rng()
        self._form = b"moreton:{%b}:%%b%%b" % _plain(name) if one_slot else _OF_KEY
        calendar = clock.calendar()
        self._moments = moment_arguments(self.limits, 1)
        self._windows = window_arguments(self.limits, 1)
        self._any = script_for(self.limits)
        self._suffixes = [
            f":{name}:{words(one, calendar)[0]}:{one.name}".encode() for one in self.limits
        ]
        self._usual: dict[bool, Arguments] = {}  # of a cost of 1, where they are always the same
        self._has_calendar = any(isinstance(one, CalendarWindow) for one in self.limits)
        self._degraded = 0
        self._skew = 0  # by how many nanoseconds the server's calendar is ahead of ours
        self._at: Callable[[], int] = lambda: 0  # the time to decide at: that of the server

    def allow(self, key: str, cost: int = 1) -> bool:
        """As `decide`, without the reasons."""
        check_whole("cost", cost, 0)
        asked = Asked(self._keys(key), cost, brief=True)
        decided = self._before(asked)
        if decided is not None:
            return decided.allowed
        try:
            reply = self._run(asked)
        except _FAILURES as error:
            return self._failed(asked, error).allowed
        if reply == ALLOWED:
            self._answered()
            return True
        return self._after(asked, reply).allowed

    def decide(
        self, keys: Keys, cost: int = 1, *, patience: timedelta = _ZERO, share: float = 1.0
    ) -> Decision:
        """See `Limiter.decide`."""
        check_whole("cost", cost, 0)
        return self._ask(Asked(self._keys(keys), cost, nanos_of(patience), share))

    async def decide_async(
        self, keys: Keys, cost: int = 1, *, patience: timedelta = _ZERO, share: float = 1.0
    ) -> Decision:
        """See `Limiter.decide`."""
        check_whole("cost", cost, 0)
        return await self._ask_async(Asked(self._keys(keys), cost, nanos_of(patience), share))

    @property
    def store(self) -> Hashable | None:
        """See `Limiter.store`; none of a cluster, where keys of several limiters have many slots.

        A limit with a queue of its own is asked alone: its turns are not those of the others.
        """
        return self._store

    def decide_together(self, questions: Sequence[Question]) -> list[Decision | None]:
        """See `Limiter.decide_together`."""
        joint = self._joint(questions)
        if joint.known is not None:
            return joint.known
        if joint.repeats:
            return one_by_one(questions)
        run = self._clients.run
        try:
            reply = run(joint.script, joint.names, joint.arguments())
            if joint.is_skewed(reply):
                reply = run(joint.script, joint.names, joint.arguments())
        except _FAILURES as error:
            return joint.failed(error)
        return joint.after(reply)

    async def decide_together_async(self, questions: Sequence[Question]) -> list[Decision | None]:
        """See `Limiter.decide_together`."""
        joint = self._joint(questions)
        if joint.known is not None:
            return joint.known
        if joint.repeats:
            return await one_by_one_async(questions)
        run = self._clients.run_async
        try:
            reply = await run(joint.script, joint.names, joint.arguments())
            if joint.is_skewed(reply):
                reply = await run(joint.script, joint.names, joint.arguments())
        except _FAILURES as error:
            return joint.failed(error)
        return joint.after(reply)

    def part(self, question: Question) -> Part:
        """What this one has to do with a decision together with others."""
        asked = Asked(self._keys(question.keys), question.cost, share=question.share)
        return Part(
            self.limits,
            self._before(asked),
            self._names(asked.keys),
            self._moments if asked.share >= 1 else moment_arguments(self.limits, asked.share),
            lambda: self._numbers(asked, self._at()),
            self._is_skewed,
            lambda reply: self._after(asked, reply),
            lambda error: self._failed(asked, error),
        )

    def charge(self, keys: Keys, cost: int) -> Decision:
        """See `Limiter.charge`; lost while the server is down."""
        check_whole("cost", cost, 0)
        return self._ask(Asked(self._keys(keys), cost, what="charge"))

    async def charge_async(self, keys: Keys, cost: int) -> Decision:
        """As `charge`."""
        check_whole("cost", cost, 0)
        return await self._ask_async(Asked(self._keys(keys), cost, what="charge"))

    def give_back(self, decision: Decision, cost: int | None = None) -> None:
        """See `Limiter.give_back`; lost while the server is down."""
        asked = self._return(decision, cost)
        if asked is not None:
            self._ask(asked)

    async def give_back_async(self, decision: Decision, cost: int | None = None) -> None:
        """As `give_back`."""
        asked = self._return(decision, cost)
        if asked is not None:
            await self._ask_async(asked)

    def reset(self, key: str) -> None:
        """See `Limiter.reset`; raises `LimitStoreUnavailable`."""
        self._refusals.forget()
        try:
            self._clients.delete(self._names(self._keys(key)))
        except _FAILURES as error:
            raise LimitStoreUnavailable(
                f"{str(error) or type(error).__name__}: the limits of {key!r} were not reset; try "
                "again when the server answers"
            ) from error

    def statistics(self) -> LimiterStatistics:
        """See `Limiter.statistics`; the keys are those of which a refusal is remembered here."""
        return LimiterStatistics(len(self._refusals), 0, self._queue.waiting, self._degraded)

    def close(self) -> None:
        """Close the connections of threads."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._clients.aclose()

    def _joint(self, questions: Sequence[Question]) -> Joint:
        cost = questions[0].cost
        check_whole("cost", cost, 0)
        parts = []
        for one in questions:
            assert isinstance(one.limiter, RedisLimiter)
            assert (one.limiter.store, one.cost) == (self.store, cost)
            parts.append(one.limiter.part(one))
        return Joint(parts, cost, self._at())

    def _ask(self, asked: Asked) -> Decision:
        decided = self._before(asked)
        if decided is not None:
            return decided
        try:
            reply = self._run(asked)
        except _FAILURES as error:
            return self._failed(asked, error)
        return self._after(asked, reply)

    async def _ask_async(self, asked: Asked) -> Decision:
        decided = self._before(asked)
        if decided is not None:
            return decided
        script, names = self._script(asked), self._names(asked.keys)
        try:
            reply = await self._clients.run_async(script, names, self._arguments(asked))
            if self._is_skewed(reply):
                reply = await self._clients.run_async(script, names, self._arguments(asked))
        except _FAILURES as error:
            return self._failed(asked, error)
        return self._after(asked, reply)

    def _run(self, asked: Asked) -> Any:
        script, names = self._script(asked), self._names(asked.keys)
        reply = self._clients.run(script, names, self._arguments(asked))
        if self._is_skewed(reply):
            reply = self._clients.run(script, names, self._arguments(asked))
        return reply

    def _script(self, asked: Asked) -> Script:
        if asked.what != "decide":
            return self._any
        return MOMENTS if self._moments else WINDOWS if self._windows else self._any

    def _before(self, asked: Asked) -> Decision | None:
        """What can be said without asking."""
        now = self.clock.monotonic()
        if asked.what == "decide":
            known = self._refusals.find(asked.question, now, asked.patience)
            if known is not None:
                return known
        return None if self._outage.may_ask(now) else self._degrade(asked)

    def _answered(self) -> None:
        if self._outage.answered():
            _log.warning("the store of rate limits answers again")

    def _after(self, asked: Asked, reply: Any) -> Decision:
        self._answered()
        decision = decision_of(reply, self.limits, asked.keys, asked.cost)
        if not decision.allowed:
            now = self.clock.monotonic()
            self._refusals.add(asked.question, now, asked.patience, decision)
        return decision

    def _failed(self, asked: Asked, error: Exception) -> Decision:
        if self._outage.failed(self.clock.monotonic()):
            _log.error(
                "the store of rate limits failed: %s; %s decides meanwhile",
                str(error) or type(error).__name__,
                self._fail,
            )
        return self._degrade(asked)

    def _degrade(self, asked: Asked) -> Decision:
        """What *fail* decides."""
        self._degraded += 1
        if self._local is not None and asked.what == "decide":
            patience = timedelta(microseconds=asked.patience // 1000)
            decision = self._local.decide(
                asked.keys, asked.cost, patience=patience, share=asked.share
            )
            # What was taken here is not to be given back there.
            return replace(decision, taken=(), degraded=True)
        refused = asked.what == "decide" and self._rng.random() < self._fail.refuse
        return Decision(
            allowed=not refused,
            cost=asked.cost,
            delay_nanos=0,
            retry_nanos=ASK_AGAIN_NANOS if refused else 0,
            refused_by=None,
            standings=(),
            keys=asked.keys,
            degraded=True,
        )

    def _alone(self) -> LocalLimiter | None:
        share = self._fail.local
        if share is None:
            return None
        return LocalLimiter(*(scaled(one, share) for one in self.limits), clock=self.clock)

    def _return(self, decision: Decision, cost: int | None) -> Asked | None:
        if not decision.taken:
            return None
        amount = decision.cost if cost is None else cost
        check_whole("cost", amount, 0, decision.cost, "more than was charged")
        self._refusals.forget()
        return Asked(decision.keys, amount, what="give", taken=decision.taken)

    def _arguments(self, asked: Asked) -> Arguments:
        at = self._at()
        if asked.cost != 1 or asked.patience or asked.share < 1 or asked.what != "decide" or at:
            return arguments_of(self._values(asked, at))
        usual = self._usual.get(asked.brief)
        if usual is None:
            usual = arguments_of(self._values(asked, at))
            if not self._has_calendar:
                self._usual[asked.brief] = usual
        return usual

    def _values(self, asked: Asked, at: int) -> list[Any]:
        if self._moments and asked.what == "decide":
            told = self._moments
            if asked.share < 1:
                told = moment_arguments(self.limits, asked.share) or told
            return [asked.cost, asked.patience // 1000, at // 1000, int(asked.brief), *told]
        if self._windows and asked.what == "decide":
            told = self._windows
            if asked.share < 1:
                told = window_arguments(self.limits, asked.share) or told
            return [asked.cost, at // 1000, int(asked.brief), *told]
        what = "ask" if asked.brief else asked.what
        return [what, asked.cost, asked.patience // 1000, at // 1000, *self._numbers(asked, at)]

    def _numbers(self, asked: Asked, at: int) -> list[Any]:
        calendar = at or self.clock.calendar() + self._skew
        return numbers_of(self.limits, calendar, asked.share, asked.taken)

    def _is_skewed(self, reply: Any) -> bool:
        """Whether windows of the calendar have to be named around the server's time."""
        if reply == ALLOWED or int(reply[0]) != OTHER_TIME:
            return False
        self._skew = int(reply[1]) * 1000 - self.clock.calendar()
        return True

    def _names(self, keys: tuple[str, ...]) -> list[bytes]:
        """The keys in Redis: in one slot of a cluster if they are to be."""
        if self._clients.is_cluster and self._form is _OF_KEY and len(set(keys)) > 1:
            raise ValueError(
                f"the keys {keys} are in several slots of the cluster, so no decision over all of "
                "them is atomic; give one_slot=True, or one key"
            )
        form = self._form
        # Half a character, as clients send to find out what happens, is a key as any other.
        return [
            form % (key.encode("utf-8", "surrogatepass"), suffix)
            for key, suffix in zip(keys, self._suffixes, strict=True)
        ]


def _plain(name: str) -> bytes:
    """*name* within a form."""
    return name.encode("utf-8", "surrogatepass").replace(b"%", b"%%")

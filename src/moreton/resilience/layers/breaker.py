"""The circuit breaker as a layer, and many of them by key."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from threading import RLock
from typing import Any

from moreton.kernel.arguments import check_kind, check_whole
from moreton.kernel.rng import Rng, system_rng
from moreton.resilience.core.breaker import (
    Breaker,
    BreakerPolicy,
    BreakerState,
    BreakerStatistics,
)
from moreton.resilience.core.windows import CountWindow
from moreton.resilience.errors import CircuitOpen, Refused
from moreton.resilience.events import BreakerChanged, CallRefused, emit, listeners
from moreton.resilience.kinds import Kinds, predicate
from moreton.resilience.layers.layer import AsyncCall, Call, Gate
from moreton.resilience.timing import SYSTEM, Timing

KEYS_MAX = 100_000


def is_failure(error: BaseException) -> bool:
    """The default: every error but a refusal of another layer, which says nothing of the callee.

    Nor an answer that a client knows to be none, as 429: who limits its callers is not down.
    """
    return getattr(error, "moreton_failure", True) is not False


class CircuitBreaker(Gate):
    """Stops calls to a destination that mostly fails, and tries again after a while.

    *policy* says when; *failed* tells which errors count (default: all), as types or a predicate;
    cancellation and the refusals of other layers never do. Threads and tasks may share it. A call
    through a closed breaker costs a fraction of a microsecond; one with a window of time reads the
    clock once.
    """

    __slots__ = ("_breaker", "_failed", "_lock", "_now", "_rng", "_slow", "name")

    def __init__(
        self,
        policy: BreakerPolicy | None = None,
        *,
        name: str = "breaker",
        failed: Kinds = is_failure,
        timing: Timing = SYSTEM,
        rng: Rng | None = None,
    ) -> None:
        kinds = _failures(failed)
        self._set(_checked(policy), name, kinds, timing, rng or system_rng(), RLock())

    def _set(  # noqa: PLR0917 - what it is made of, for `Breakers` too
        self,
        policy: BreakerPolicy,
        name: str,
        failed: Callable[[BaseException], bool],
        timing: Timing,
        rng: Rng,
        lock: RLock,
        /,
    ) -> None:
        self._breaker = Breaker(policy)
        self.name = name
        self._failed = failed
        self._now = timing.now
        self._rng = rng
        self._lock = lock
        self._slow = None if policy.slow_call is None else policy.slow_call.total_seconds()

    @property
    def state(self) -> BreakerState:
        """Whether calls pass; an open breaker whose time is over is still open until it is used."""
        return self._breaker.state

    def enter(self) -> tuple[int, float]:
        """Let a call in; raises `CircuitOpen`."""
        breaker = self._breaker
        now = self._now()
        return breaker.passing or self._pass(now), now

    def leave(self, entered: tuple[int, float], error: BaseException | None) -> None:
        """Count how the call ended."""
        generation, start = entered
        if error is not None:
            self._count_error(generation, error)
            return
        breaker = self._breaker
        now = self._now()
        if self._slow is not None and now - start > self._slow:
            self._count_slow(generation, now)
        elif breaker.generation == generation and breaker.state is BreakerState.CLOSED:
            breaker.window.success(now)
        else:
            self._count_trial(generation, now)

    def wrap(self, call: Call) -> Call:
        """*call* within the breaker; shorter than `Gate.wrap`, as it is in every call's way."""
        if self._slow is not None:
            return super().wrap(call)
        breaker, now, name = self._breaker, self._now, self.name
        window, failed = breaker.window, self._failed
        note, plain = window.note_failure, failed is is_failure  # without a call of it
        counting = window if isinstance(window, CountWindow) else None

        def guarded(*args: Any, **kwargs: Any) -> Any:
            generation = breaker.passing
            if not generation:
                moment = now()
                left = breaker.until - moment
                if left > 0 and not listeners:
                    breaker.refused_total += 1  # `_refusal`, without a call
                    raise CircuitOpen(name, left)
                generation = self._pass(moment)
            try:
                result = call(*args, **kwargs) if kwargs else call(*args)
            except Exception as error:
                if (
                    breaker.passing != generation
                    or not (getattr(error, "moreton_failure", True) if plain else failed(error))
                    or not note()
                ):
                    self._count_error(generation, error)
                raise
            except BaseException:
                self._abandon(generation)
                raise
            if breaker.passing != generation:
                self._count_trial(generation, now())
            elif counting is not None:
                counting.total += 1  # `success`, without a call and a look at the clock
            else:
                window.success(now())
            return result

        return guarded

    def wrap_async(self, call: AsyncCall) -> AsyncCall:
        """*call* within the breaker; as `wrap`."""
        if self._slow is not None:
            return super().wrap_async(call)
        breaker, now, name = self._breaker, self._now, self.name
        window, failed = breaker.window, self._failed
        note, plain = window.note_failure, failed is is_failure  # without a call of it
        counting = window if isinstance(window, CountWindow) else None

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            generation = breaker.passing
            if not generation:
                moment = now()
                left = breaker.until - moment
                if left > 0 and not listeners:
                    breaker.refused_total += 1  # `_refusal`, without a call
                    raise CircuitOpen(name, left)
                generation = self._pass(moment)
            try:
                result = await (call(*args, **kwargs) if kwargs else call(*args))
            except Exception as error:
                if (
                    breaker.passing != generation
                    or not (getattr(error, "moreton_failure", True) if plain else failed(error))
                    or not note()
                ):
                    self._count_error(generation, error)
                raise
            except BaseException:
                self._abandon(generation)
                raise
            if breaker.passing != generation:
                self._count_trial(generation, now())
            elif counting is not None:
                counting.total += 1  # `success`, without a call and a look at the clock
            else:
                window.success(now())
            return result

        return guarded

    def open(self) -> None:
        """Refuse calls from now on, for the time that the policy says."""
        with self._lock:
            self._breaker.open(self._now(), self._rng)
        self._tell()

    def close(self) -> None:
        """Let calls pass from now on."""
        with self._lock:
            self._breaker.close(self._now())
        self._tell()

    def statistics(self) -> BreakerStatistics:
        """The state now."""
        with self._lock:
            return self._breaker.statistics(self._now())

    def describe(self) -> str:
        """When it opens."""
        return str(self._breaker.policy)

    def _pass(self, now: float) -> int:
        """The generation under which a call may pass a breaker that is not closed."""
        breaker = self._breaker
        if now < breaker.until:
            raise self._refusal(now)
        with self._lock:
            before = breaker.generation
            admitted = breaker.admit(now)
            generation = breaker.generation
        if generation != before:
            self._tell()
        if not admitted:
            raise self._refusal(now)
        return generation

    def _refusal(self, now: float) -> CircuitOpen:
        breaker = self._breaker
        breaker.refused_total += 1
        if listeners:
            emit(CallRefused(self.name, CircuitOpen.code))
        return CircuitOpen(self.name, breaker.until - now)

    def _count_error(self, generation: int, error: BaseException) -> None:
        breaker = self._breaker
        if not isinstance(error, Exception) or isinstance(error, Refused):
            self._abandon(generation)
            return
        try:
            failed = self._failed(error)
        except BaseException:
            self._abandon(generation)  # or a fault of the predicate would keep a trial's permit
            raise
        if failed:
            with self._lock:
                changed = breaker.failed(generation, self._now(), self._rng)
            if changed:
                self._tell()
        else:
            self._count_trial(generation, self._now())

    def _abandon(self, generation: int) -> None:
        """A call was cancelled, or refused by another layer: that says nothing of the callee."""
        with self._lock:
            self._breaker.abandoned(generation)

    def _count_slow(self, generation: int, now: float) -> None:
        with self._lock:
            changed = self._breaker.slow(generation, now, self._rng)
        if changed:
            self._tell()

    def _count_trial(self, generation: int, now: float) -> None:
        with self._lock:
            changed = self._breaker.succeeded(generation, now)
        if changed:
            self._tell()

    def _tell(self) -> None:
        if listeners:
            emit(BreakerChanged(self.name, self._breaker.state))


class Breakers:
    """A breaker for every key (a host, a tenant), all with one policy; at most *keys_max*.

    Beyond that the key that was made longest ago is forgotten. About 400 bytes a key.
    """

    def __init__(
        self,
        policy: BreakerPolicy | None = None,
        *,
        name: str = "breakers",
        failed: Kinds = is_failure,
        timing: Timing = SYSTEM,
        rng: Rng | None = None,
        keys_max: int = KEYS_MAX,
    ) -> None:
        check_whole("keys_max", keys_max, 1)
        self.policy = _checked(policy)
        self.name = name
        self._failed = _failures(failed)
        self._timing = timing
        self._rng = rng or system_rng()
        self._keys_max = keys_max
        self._lock = RLock()
        self._breakers: dict[Hashable, CircuitBreaker] = {}

    def __getitem__(self, key: Hashable) -> CircuitBreaker:
        """The breaker of *key*, made when it is new."""
        found = self._breakers.get(key)
        return found if found is not None else self._made(key)

    def __len__(self) -> int:
        return len(self._breakers)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(tuple(self._breakers))

    def _made(self, key: Hashable) -> CircuitBreaker:
        with self._lock:
            found = self._breakers.get(key)
            if found is None:
                found = CircuitBreaker.__new__(CircuitBreaker)
                parts = (self.policy, self.name, self._failed, self._timing, self._rng, self._lock)
                found._set(*parts)  # noqa: SLF001 - of this module; with the lock that all share
                while len(self._breakers) >= self._keys_max:
                    del self._breakers[next(iter(self._breakers))]
                self._breakers[key] = found
            return found


def _checked(policy: BreakerPolicy | None) -> BreakerPolicy:
    found = BreakerPolicy() if policy is None else policy
    check_kind("policy", found, BreakerPolicy)
    return found


def _failures(kinds: Kinds) -> Callable[[BaseException], bool]:
    """*kinds*, but never the refusal of another layer."""
    counts = predicate("failed", kinds)
    if counts is is_failure:
        return counts
    return lambda error: not isinstance(error, Refused) and counts(error)

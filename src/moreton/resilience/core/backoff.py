"""How long to wait before a retry."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from moreton.kernel.arguments import check_duration, check_kind, check_number
from moreton.kernel.quantities import format_duration
from moreton.kernel.rng import Rng


class Growth(StrEnum):
    """How the wait grows from one retry to the next."""

    CONSTANT = "constant"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class Jitter(StrEnum):
    """How a wait *e* is spread, so that clients which failed together do not return together."""

    NONE = "none"  # e
    FULL = "full"  # uniform in [0, e]
    EQUAL = "equal"  # e/2 + uniform in [0, e/2]
    DECORRELATED = "decorrelated"  # min(cap, uniform in [initial, 3 * the wait before])


_FULL, _DECORRELATED = Jitter.FULL, Jitter.DECORRELATED  # looked up once
_INITIAL = timedelta(milliseconds=100)
_CAP = timedelta(seconds=10)
# A day between two attempts is not a retry but a schedule.
CAP_MAX = timedelta(days=1)
_WAITS_MAX = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits of one series of attempts: *initial*, then growing up to *cap*, spread by *jitter*.

    Exponential: `min(cap, initial * multiplier ** (n - 1))` before retry *n*, counted from 1.
    Linear: `min(cap, initial + step * (n - 1))`. Constant: `initial`.

    Raises `ValueError` for a series that cannot be meant.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    initial: timedelta = _INITIAL
    multiplier: float = 2.0
    cap: timedelta = _CAP
    jitter: Jitter = Jitter.FULL
    growth: Growth = Growth.EXPONENTIAL
    step: timedelta = timedelta(0)
    _initial: float = field(init=False, repr=False, compare=False)
    _cap: float = field(init=False, repr=False, compare=False)
    _capped_from: int = field(init=False, repr=False, compare=False)
    _waits: tuple[float, ...] = field(init=False, repr=False, compare=False)  # the first ones

    def __post_init__(self) -> None:
        _check(self)
        initial, cap = self.initial.total_seconds(), self.cap.total_seconds()
        object.__setattr__(self, "_initial", initial)
        object.__setattr__(self, "_cap", cap)
        capped_from = _capped_from(self, initial, cap)
        object.__setattr__(self, "_capped_from", capped_from)
        retries = range(1, min(capped_from, _WAITS_MAX) + 1)
        object.__setattr__(self, "_waits", tuple(self._ceiling(retry) for retry in retries))

    @classmethod
    def constant(cls, wait: timedelta, *, jitter: Jitter = Jitter.NONE) -> Backoff:
        """Always *wait*."""
        return cls(initial=wait, cap=wait, multiplier=1.0, growth=Growth.CONSTANT, jitter=jitter)

    @classmethod
    def linear(
        cls,
        initial: timedelta,
        step: timedelta,
        *,
        cap: timedelta = _CAP,
        jitter: Jitter = Jitter.NONE,
    ) -> Backoff:
        """*initial*, then *step* more each time."""
        return cls(initial=initial, step=step, cap=cap, growth=Growth.LINEAR, jitter=jitter)

    @classmethod
    def exponential(
        cls,
        initial: timedelta = _INITIAL,
        *,
        multiplier: float = 2.0,
        cap: timedelta = _CAP,
        jitter: Jitter = Jitter.FULL,
    ) -> Backoff:
        """*initial*, then *multiplier* times as long each time."""
        return cls(initial=initial, multiplier=multiplier, cap=cap, jitter=jitter)

    @classmethod
    def patient(cls, *, cap: timedelta = timedelta(minutes=5)) -> Backoff:
        """Attempts at exactly T, T+2 s, T+8 s, T+26 s, T+80 s: 2 s, three times as long each time.

        For background work alone on its destination: without jitter, many clients that failed
        together return together.
        """
        return cls(initial=timedelta(seconds=2), multiplier=3.0, cap=cap, jitter=Jitter.NONE)

    def next_delay(self, attempt: int, rng: Rng, *, previous: timedelta | None = None) -> timedelta:
        """How long to wait before retry number *attempt*, counted from 1.

        Never above `cap`; O(1). Decorrelated jitter needs the *previous* wait of the series.

        Raises `ValueError` if *attempt* < 1.
        """
        before = 0.0 if previous is None else previous.total_seconds()
        return timedelta(seconds=self.seconds(attempt, rng, before))

    def seconds(self, attempt: int, rng: Rng, previous: float = 0.0) -> float:
        """As `next_delay`, in seconds; *previous* is 0 before the first retry."""
        if attempt < 1:
            raise ValueError(f"attempt {attempt}: retries are counted from 1")
        jitter = self.jitter
        if jitter is _DECORRELATED:
            latest = max(previous, self._initial) * 3
            wait = self._initial + (latest - self._initial) * rng.random()
            return min(self._cap, wait)
        waits = self._waits
        wait = waits[attempt - 1] if attempt <= len(waits) else self._ceiling(attempt)
        if jitter is _FULL:
            return wait * rng.random()
        if jitter is Jitter.EQUAL:
            return wait / 2 + wait / 2 * rng.random()
        return wait

    def bounds(self, attempt: int) -> tuple[float, float, float]:
        """The earliest, the mean and the latest wait before retry *attempt*, in seconds.

        The mean of decorrelated jitter leaves the cap out until the latest wait reaches it.
        """
        if self.jitter is Jitter.DECORRELATED:
            mean = latest = self._initial
            for _ in range(min(attempt, self._capped_from)):
                mean = (self._initial + 3 * mean) / 2
                latest *= 3
            return self._initial, min(self._cap, mean), min(self._cap, latest)
        wait = self._waits[attempt - 1] if attempt <= len(self._waits) else self._ceiling(attempt)
        earliest = {Jitter.FULL: 0.0, Jitter.EQUAL: wait / 2}.get(self.jitter, wait)
        return earliest, (earliest + wait) / 2, wait

    def __str__(self) -> str:
        words = [self.growth.value, "from " + format_duration(self.initial)]
        if self.growth is Growth.EXPONENTIAL:
            words.append(f"times {self.multiplier:g}")
        if self.growth is Growth.LINEAR:
            words.append(f"plus {format_duration(self.step)}")
        if self.growth is not Growth.CONSTANT:
            words.append(f"up to {format_duration(self.cap)}")
        return " ".join([*words, f"with {self.jitter.value} jitter"])

    def _ceiling(self, attempt: int) -> float:
        # Also keeps the power from overflowing after a thousand retries.
        if attempt >= self._capped_from:
            return self._cap
        if self.growth is Growth.LINEAR:
            return self._initial + self.step.total_seconds() * (attempt - 1)
        return self._initial * self.multiplier ** (attempt - 1)


def _capped_from(backoff: Backoff, initial: float, cap: float) -> int:
    """The first retry whose wait is the cap."""
    if initial >= cap:
        return 1
    if backoff.jitter is Jitter.DECORRELATED:
        return 1 + math.ceil(math.log(cap / initial, 3))
    if backoff.growth is Growth.LINEAR:
        return 1 + math.ceil((cap - initial) / backoff.step.total_seconds())
    # One more than the logarithm says: its rounding must not raise a wait to the cap too early.
    steps = math.log(cap / initial) / math.log(backoff.multiplier)
    exact = math.ceil(steps)
    return 1 + exact if initial * backoff.multiplier ** (exact - 1) < cap else exact


def _check(backoff: Backoff) -> None:
    check_duration("initial", backoff.initial, "a retry without a wait repeats an outage")
    check_duration("cap", backoff.cap)
    check_duration("step", backoff.step, "waits would shrink", zero=True)
    check_number("multiplier", backoff.multiplier, 1, why="waits would shrink")
    check_kind("jitter", backoff.jitter, Jitter)
    check_kind("growth", backoff.growth, Growth)
    if backoff.cap < backoff.initial:
        raise ValueError(
            f"cap is {format_duration(backoff.cap)}, below the initial "
            f"{format_duration(backoff.initial)}: no wait would fit; raise the cap"
        )
    if backoff.cap > CAP_MAX:
        raise ValueError(f"cap is {backoff.cap}: at most a day; use a schedule for longer waits")
    _check_growth(backoff)


def _check_growth(backoff: Backoff) -> None:
    grows = backoff.cap > backoff.initial
    if backoff.growth is Growth.CONSTANT and grows:
        raise ValueError("constant waits have no cap above them: use Backoff.constant")
    if backoff.growth is Growth.LINEAR and grows and not backoff.step:
        raise ValueError("step is 0: the waits never grow; use Backoff.constant, or give a step")
    if backoff.growth is Growth.EXPONENTIAL and grows and backoff.multiplier == 1:
        raise ValueError(
            "multiplier is 1 and the cap is above the initial: the waits never grow; use "
            "Backoff.constant, or a multiplier above 1"
        )
    if backoff.growth is not Growth.EXPONENTIAL and backoff.jitter is Jitter.DECORRELATED:
        raise ValueError(
            f"decorrelated jitter has a growth of its own, which {backoff.growth.value} waits "
            "would contradict; use full or equal jitter"
        )

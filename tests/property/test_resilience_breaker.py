"""The breaker against a twin that keeps every call, under any order of events."""

from __future__ import annotations

from collections import deque
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moreton.kernel.rng import seeded_rng
from moreton.resilience.core.breaker import Breaker, BreakerPolicy, BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
POLICIES = st.builds(
    BreakerPolicy,
    failure_rate=st.sampled_from([0.25, 0.5, 1.0]),
    window=st.integers(6, 12),
    minimum_calls=st.integers(1, 6),
    slow_call=st.sampled_from([None, timedelta(seconds=1)]),
    slow_call_rate=st.sampled_from([0.5, 1.0]),
    open_for=st.integers(1, 5).map(lambda seconds: timedelta(seconds=seconds)),
    jitter=st.sampled_from([0.0, 0.2, 1.0]),
    permits=st.integers(1, 3),
    successes=st.integers(1, 4),
)


class Twin(RuleBasedStateMachine):
    """Remembers calls that are under way with their generation, and the window as a list."""

    @initialize(policy=POLICIES, seed=st.integers(0, 99))
    def make(self, policy: BreakerPolicy, seed: int) -> None:
        self.policy = policy
        self.breaker = Breaker(policy)
        self.rng = seeded_rng(seed)
        self.now = 100.0
        self.opened_at = 0.0
        self.under_way: list[int] = []
        assert isinstance(policy.window, int)
        self.window: deque[tuple[bool, bool]] = deque(maxlen=policy.window)
        self.won = 0

    @rule(seconds=st.integers(0, 6))
    def let_time_pass(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        before = self.breaker.state
        admitted = self.breaker.admit(self.now)
        after = self.breaker.state
        waited = self.now - self.opened_at
        open_for = self.policy.open_for.total_seconds()
        if before is CLOSED:
            assert admitted
            assert after is CLOSED
        if before is OPEN and waited < open_for:
            assert not admitted
        if before is OPEN and waited >= open_for * (1 + self.policy.jitter):
            assert admitted  # the first one of a breaker that opens half is always let through
        if before is OPEN and admitted:
            assert after is HALF_OPEN
            self.won = 0
        if before is HALF_OPEN:
            assert admitted == (self.trials() < self.policy.permits)
        if admitted:
            self.under_way.append(self.breaker.generation)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        generation = self.end(data)
        before = self.breaker.state
        stale = generation != self.breaker.generation
        closed = self.breaker.succeeded(generation, self.now)
        if stale:
            assert self.breaker.state is before
            assert not closed
        elif before is CLOSED:
            self.window.append((False, False))
        else:
            self.won += 1
            assert closed == (self.won >= self.policy.successes)
            assert (self.breaker.state is CLOSED) == closed
            if closed:
                self.window.clear()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), slow=st.booleans())
    def fail(self, data: st.DataObject, *, slow: bool) -> None:
        generation = self.end(data)
        before = self.breaker.state
        stale = generation != self.breaker.generation
        if slow:
            opened = self.breaker.slow(generation, self.now, self.rng)
        elif self.breaker.passing == generation and self.breaker.window.note_failure():
            opened = False  # the short way, which the layer takes without a lock
        else:
            opened = self.breaker.failed(generation, self.now, self.rng)
        if stale:
            assert self.breaker.state is before
            assert not opened
            return
        if before is CLOSED:
            self.window.append((not slow, slow))
        assert opened == (before is HALF_OPEN or self.too_bad())
        assert (self.breaker.state is OPEN) == opened
        if opened:
            self.opened_at = self.now

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        generation = self.end(data)
        before = self.breaker.state
        self.breaker.abandoned(generation)
        assert self.breaker.state is before

    @rule()
    def open_by_hand(self) -> None:
        self.breaker.open(self.now, self.rng)
        assert self.breaker.state is OPEN
        self.opened_at = self.now

    @rule()
    def close_by_hand(self) -> None:
        self.breaker.close(self.now)
        assert self.breaker.state is CLOSED
        self.window.clear()

    @invariant()
    def no_more_trials_than_permits(self) -> None:
        if self.breaker.state is HALF_OPEN:
            assert 0 <= self.trials() <= self.policy.permits
            assert self.trials() == self.breaker._in_trial

    @precondition(lambda self: self.breaker.state is CLOSED)
    @rule()
    def look_at_the_window(self) -> None:
        told = self.breaker.statistics(self.now)
        failed, slow = (sum(row[at] for row in self.window) for at in (0, 1))
        assert (told.calls, told.failed, told.slow) == (len(self.window), failed, slow)

    def trials(self) -> int:
        return sum(generation == self.breaker.generation for generation in self.under_way)

    def end(self, data: st.DataObject) -> int:
        return self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))

    def too_bad(self) -> bool:
        calls = len(self.window)
        if calls < self.policy.minimum_calls:
            return False
        failed, slow = (sum(row[at] for row in self.window) for at in (0, 1))
        return failed / calls >= self.policy.failure_rate or (
            self.policy.slow_call is not None and slow / calls >= self.policy.slow_call_rate
        )


TestBreaker = Twin.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)

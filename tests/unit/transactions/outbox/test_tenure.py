from __future__ import annotations

from datetime import timedelta

from moreton.kernel.time import Instant
from moreton.transactions.outbox.core.tenure import Seen, Tenure

TTL = timedelta(seconds=3)
START = Instant(10**12)


def after(seconds: float) -> Instant:
    return START + timedelta(seconds=seconds)


def test_free_lease_is_taken_at_once() -> None:
    assert Tenure(TTL).saw(Seen("", 4, 9), START)


def test_lease_that_nobody_beats_is_taken_after_its_time() -> None:
    tenure = Tenure(TTL)
    held = Seen("other", 4, 9)
    assert not tenure.saw(held, START)
    assert not tenure.saw(held, after(2.9))
    assert tenure.saw(held, after(3))


def test_beat_begins_the_time_anew() -> None:
    tenure = Tenure(TTL)
    assert not tenure.saw(Seen("other", 4, 9), START)
    assert not tenure.saw(Seen("other", 4, 10), after(2.9))
    assert not tenure.saw(Seen("other", 4, 10), after(5.8))
    assert tenure.saw(Seen("other", 4, 10), after(5.9))


def test_new_holder_begins_the_time_anew() -> None:
    tenure = Tenure(TTL)
    assert not tenure.saw(Seen("other", 4, 9), START)
    assert not tenure.saw(Seen("third", 5, 9), after(3))


def test_holder_beats_three_times_in_its_lease() -> None:
    tenure = Tenure(TTL)
    tenure.took(5, START)
    assert tenure.due == after(1)
    tenure.confirmed(after(0.5))
    assert tenure.due == after(1.5)


def test_who_lost_it_looks_at_once_and_waits_again() -> None:
    tenure = Tenure(TTL)
    assert not tenure.saw(Seen("other", 4, 9), START)
    tenure.took(5, after(3))
    tenure.lost(after(4))
    assert tenure.token is None
    assert tenure.due == after(4)
    assert not tenure.saw(Seen("other", 4, 9), after(4))

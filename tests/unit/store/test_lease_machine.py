from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.kernel.time import Instant
from moreton.store.core.changes import LeaseGranted, LeaseRevoked
from moreton.store.core.errors import LeaseNotFound
from moreton.store.core.lease import (
    EXPIRIES_MAX,
    REVOCATION_RETRY,
    STALL,
    LeaseMachine,
    LeaseRenewed,
    RevocationFailed,
    RevokeLease,
)
from moreton.store.core.model import Lease, LeaseId

A, B = LeaseId(1), LeaseId(2)


def at(seconds: float) -> Instant:
    return Instant(0) + timedelta(seconds=seconds)


def lease(lease_id: LeaseId, seconds: float) -> Lease:
    return Lease(lease_id, timedelta(seconds=seconds))


def test_machine_without_leases_has_no_deadline() -> None:
    machine = LeaseMachine((), at(0))
    assert machine.deadline() is None
    assert machine.wake(at(100)) == []


def test_lease_ends_at_its_ttl_and_not_before() -> None:
    machine = LeaseMachine((), at(0))
    machine.handle(LeaseGranted(lease(A, 5)), at(10))
    assert machine.deadline() == at(15)
    assert machine.wake(at(14.999)) == []
    assert machine.wake(at(15)) == [RevokeLease(A)]
    assert machine.wake(at(15.5)) == []


def test_renewal_puts_the_end_off() -> None:
    machine = LeaseMachine((), at(0))
    machine.handle(LeaseGranted(lease(A, 5)), at(0))
    machine.handle(LeaseRenewed(A), at(4))
    assert machine.wake(at(5)) == []
    assert machine.deadline() == at(9)
    assert machine.wake(at(9)) == [RevokeLease(A)]


def test_leases_end_in_order_of_their_ends() -> None:
    machine = LeaseMachine((), at(0))
    machine.handle(LeaseGranted(lease(A, 0.9)), at(0))
    machine.handle(LeaseGranted(lease(B, 0.8)), at(0))
    assert machine.wake(at(0.95)) == [RevokeLease(B), RevokeLease(A)]


def test_ending_lease_cannot_be_renewed() -> None:
    machine = LeaseMachine((), at(0))
    machine.handle(LeaseGranted(lease(A, 5)), at(0))
    machine.wake(at(5))
    with pytest.raises(LeaseNotFound):
        machine.handle(LeaseRenewed(A), at(5))
    with pytest.raises(LeaseNotFound):
        machine.ttl(A)


def test_revoked_lease_does_not_end_again() -> None:
    machine = LeaseMachine((), at(0))
    machine.handle(LeaseGranted(lease(A, 5)), at(0))
    machine.handle(LeaseRevoked(lease(A, 5), None), at(1))
    assert machine.wake(at(5)) == []
    assert machine.deadline() is None


def test_lease_granted_again_has_its_new_time() -> None:
    machine = LeaseMachine((), at(0))
    machine.handle(LeaseGranted(lease(A, 5)), at(0))
    machine.handle(LeaseRevoked(lease(A, 5), None), at(1))
    machine.handle(LeaseGranted(lease(A, 5)), at(2))
    assert machine.wake(at(5)) == []
    assert machine.wake(at(7)) == [RevokeLease(A)]


def test_refused_revocation_is_tried_again() -> None:
    machine = LeaseMachine((), at(0))
    machine.handle(LeaseGranted(lease(A, 5)), at(0))
    machine.wake(at(5))
    machine.handle(RevocationFailed(A), at(5))
    assert machine.deadline() == at(5) + REVOCATION_RETRY
    assert machine.wake(at(5) + REVOCATION_RETRY) == [RevokeLease(A)]


def test_restarted_machine_gives_every_lease_its_time_anew() -> None:
    machine = LeaseMachine((lease(A, 5), lease(B, 3)), at(100))
    assert machine.deadline() == at(103)
    assert machine.wake(at(103)) == [RevokeLease(B)]
    assert machine.wake(at(105)) == [RevokeLease(A)]


def test_host_that_was_stopped_gives_every_lease_its_time_anew() -> None:
    machine = LeaseMachine((lease(A, 5), lease(B, 6)), at(0))
    late = at(5) + STALL
    assert machine.wake(late) == []
    assert machine.deadline() == late + timedelta(seconds=5)
    assert machine.wake(late + timedelta(seconds=5)) == [RevokeLease(A)]
    assert machine.wake(late + timedelta(seconds=6)) == [RevokeLease(B)]


def test_host_that_was_stopped_still_retries_what_had_begun_to_end() -> None:
    machine = LeaseMachine((lease(A, 5), lease(B, 60)), at(0))
    machine.wake(at(5))
    machine.handle(RevocationFailed(A), at(5))
    assert machine.wake(at(5) + REVOCATION_RETRY + STALL) == [RevokeLease(A)]
    with pytest.raises(LeaseNotFound):
        machine.ttl(A)


def test_many_leases_end_in_bounded_steps() -> None:
    count = EXPIRIES_MAX * 2 + 1
    machine = LeaseMachine((lease(LeaseId(n), 5) for n in range(1, count + 1)), at(0))
    steps = [len(machine.wake(at(5))) for _ in range(4)]
    assert steps == [EXPIRIES_MAX, EXPIRIES_MAX, 1, 0]


def test_leases_that_ended_early_take_no_memory_until_their_time() -> None:
    machine = LeaseMachine((), at(0))
    machine.handle(LeaseGranted(lease(A, 50_000)), at(0))
    for number in range(10_000):
        short = lease(LeaseId(10 + number), 86_400)
        machine.handle(LeaseGranted(short), at(0))
        machine.handle(LeaseRevoked(short, None), at(0))
    assert len(machine._queue) < 2000
    assert machine.deadline() == at(50_000)
    assert machine.wake(at(50_000)) == [RevokeLease(A)]

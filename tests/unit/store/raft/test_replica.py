from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.store.core.changes import LeaseRevoked, Written
from moreton.store.core.errors import Compacted, LeaseNotFound
from moreton.store.core.model import Lease, LeaseId, Put, Range, Transaction, TxnResult
from moreton.store.raft.core.commands import (
    Begin,
    Command,
    Compact,
    Expire,
    Grant,
    Revoke,
)
from moreton.store.raft.core.encoding import encode
from moreton.store.raft.core.replica import Done, Replica
from moreton.store.raft.core.snapshot import freeze, thaw

LEASE = Lease(LeaseId(7), timedelta(seconds=5))
PUT = Transaction(then=(Put(b"a", b"1", LEASE.id),))


class Log:
    def __init__(self) -> None:
        self.replica = Replica()

    def give(self, command: Command) -> Done:
        return self.replica.apply(encode(command))

    @property
    def keys(self) -> list[bytes]:
        return [kv.key for kv in self.replica.state.keyspace.everything()]


def test_answer_of_a_transaction_is_its_result_and_its_change_can_be_shown() -> None:
    log = Log()
    log.give(Grant(LEASE))
    done = log.give(PUT)
    assert isinstance(done.answer, TxnResult)
    assert done.answer.revision == 2
    assert [type(change) for change in done.changes] == [Written]


def test_refusal_is_an_answer_and_changes_nothing() -> None:
    log = Log()
    done = log.give(PUT)
    assert isinstance(done.answer, LeaseNotFound)
    assert (done.changes, log.keys, log.replica.state.revision) == ((), [], 1)


def test_leases_expire_by_the_word_of_the_leader_that_times_them() -> None:
    log = Log()
    log.give(Begin(3))
    log.give(Grant(LEASE))
    log.give(PUT)
    done = log.give(Expire((LEASE.id,), 3))
    assert [type(change) for change in done.changes] == [LeaseRevoked]
    assert log.keys == []
    assert log.replica.state.leases == {}


def test_deposed_leader_cannot_end_a_lease_that_may_have_been_renewed_since() -> None:
    log = Log()
    log.give(Begin(3))
    log.give(Grant(LEASE))
    log.give(PUT)
    log.give(Begin(4))
    done = log.give(Expire((LEASE.id,), 3))
    assert (done.answer, done.changes) == (None, ())
    assert log.keys == [b"a"]
    assert log.replica.state.leases == {LEASE.id: LEASE}


def test_beginning_of_an_older_leader_that_comes_late_gives_it_no_power() -> None:
    log = Log()
    log.give(Grant(LEASE))
    log.give(Begin(4))
    log.give(Begin(3))
    assert log.give(Expire((LEASE.id,), 3)).changes == ()
    assert log.give(Expire((LEASE.id,), 4)).changes != ()


def test_expiry_of_leases_that_are_gone_already_ends_the_others() -> None:
    log = Log()
    log.give(Begin(1))
    log.give(Grant(LEASE))
    done = log.give(Expire((LeaseId(99), LEASE.id), 1))
    assert len(done.changes) == 1


def test_compaction_is_refused_to_go_back() -> None:
    log = Log()
    for value in (b"1", b"2"):
        log.give(Transaction(then=(Put(b"b", value),)))
    assert log.give(Compact(3)).answer is None
    assert isinstance(log.give(Compact(2)).answer, Compacted)
    read = log.give(Transaction(then=(Range(b"b", revision=2),)))
    assert isinstance(read.answer, Compacted)


def test_command_of_a_later_version_is_not_passed_over() -> None:
    data = bytes([200]) + encode(Revoke(LEASE.id))[1:]
    replica = Replica()
    with pytest.raises(ValueError, match="kind 200"):
        replica.apply(data)


def test_snapshot_of_another_format_is_refused_with_what_it_begins_with() -> None:
    data = freeze(Replica()).encode()
    with pytest.raises(ValueError, match="format 9"):
        thaw(data[:4] + bytes([9]) + data[5:])
    with pytest.raises(ValueError, match="b'nope'"):
        thaw(b"nope" + data[4:])


def test_snapshot_with_a_key_on_a_missing_lease_is_refused() -> None:
    log = Log()
    log.give(Grant(LEASE))
    log.give(PUT)
    del log.replica.state.leases[LEASE.id]
    with pytest.raises(ValueError, match="lease 7, which is missing"):
        thaw(freeze(log.replica).encode())

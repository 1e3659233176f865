"""Reads by a lease: section 6.4.1 of Ongaro's thesis."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.consensus.core.events import (
    Campaign,
    ReadReady,
    ReadRequest,
    Receive,
    TransferLeadership,
)
from moreton.consensus.core.messages import (
    AppendEntries,
    Heartbeat,
    HeartbeatResponse,
    RequestVote,
)
from moreton.consensus.core.state import Role, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster, logged

SETTINGS = Settings(election_timeout=ELECTION, lease_reads=True)


def led() -> Cluster:
    cluster = Cluster(settings=SETTINGS)
    cluster.now += 2 * ELECTION  # leases of an earlier life are over
    cluster.elect(1)
    return cluster


def rounds(cluster: Cluster) -> int:
    return max((message.round for message in cluster.sent(1, Heartbeat)), default=0)


def test_lease_answers_without_a_round() -> None:
    """6.4.1: once a majority has acknowledged, nobody is elected for an election timeout."""
    cluster = led()
    cluster.advance(SETTINGS.heartbeat_interval)
    before = rounds(cluster)
    cluster.tell(1, ReadRequest(b"r"))
    assert cluster.reads(1) == [ReadReady(b"r", 2)]
    assert rounds(cluster) == before


@pytest.mark.parametrize(("after", "answered"), [(0.75, 1), (0.88, 0)])
def test_lease_ends_before_anyone_could_be_elected(after: float, answered: int) -> None:
    """6.4.1: even if clocks run apart by as much as is allowed, here a tenth each way."""
    cluster = led()
    cluster.advance(SETTINGS.heartbeat_interval)
    sent = cluster.now  # the last round that was confirmed was sent now
    cluster.isolate(1)
    cluster.now = sent + ELECTION * after
    cluster.tell(1, ReadRequest(b"r"))
    assert len(cluster.reads(1)) == answered


def test_lease_counts_from_when_heartbeats_were_sent() -> None:
    """6.4.1: the start of the round, however late its answers come."""
    cluster = led()
    cluster.isolate(1)
    cluster.advance(SETTINGS.heartbeat_interval)
    sent = cluster.now
    (heartbeat,) = [m for m in cluster.sent(1, Heartbeat) if m.target == 2][-1:]
    cluster.now = sent + ELECTION * 0.7
    answer = HeartbeatResponse(source=2, target=1, term=2, round=heartbeat.round)
    cluster.tell(1, Receive(answer))
    cluster.tell(1, ReadRequest(b"in time"))
    cluster.now = sent + ELECTION * 0.88
    cluster.tell(1, ReadRequest(b"too late"))
    assert [read.context for read in cluster.reads(1)] == [b"in time"]


def test_lease_needs_an_entry_of_the_term_too() -> None:
    """6.4.1: it replaces step 3 only."""
    cluster = led()
    cluster.drop = lambda m: isinstance(m, AppendEntries)
    cluster.crash(1)
    cluster.now += 3 * ELECTION
    cluster.do(2, Campaign())
    assert cluster.role(2) is Role.LEADER
    cluster.advance(SETTINGS.heartbeat_interval)
    cluster.read(2)
    assert cluster.reads(2) == []


def test_voter_keeps_the_lease_that_it_has_granted() -> None:
    """6.4.1: it votes for nobody within an election timeout of a heartbeat."""
    cluster = led()
    cluster.advance(SETTINGS.heartbeat_interval)
    granted = cluster.now
    ask = RequestVote(source=3, target=2, term=9, last_index=9, last_term=9)
    cluster.now = granted + ELECTION * 0.99
    cluster.tell(2, Receive(ask))
    assert cluster.state(2).term == 2
    cluster.now = granted + ELECTION * 1.01
    cluster.tell(2, Receive(ask))
    assert cluster.state(2).vote == 3


def test_nobody_campaigns_early_while_a_lease_may_be_held() -> None:
    """6.4.1: not even if told to."""
    cluster = led()
    cluster.do(2, Campaign())
    assert cluster.refusals(2) == ["lease-held"]


def test_restarted_voter_waits_out_leases_that_it_has_forgotten() -> None:
    """6.4.1: memory of a heartbeat is volatile."""
    cluster = led()
    cluster.advance(SETTINGS.heartbeat_interval)
    cluster.restart(2)
    ask = RequestVote(source=3, target=2, term=9, last_index=9, last_term=9)
    cluster.tell(2, Receive(ask))
    assert cluster.state(2).term == 2


def test_leader_that_hands_over_gives_up_its_lease() -> None:
    """6.4.1 and 3.10: its successor is elected before the lease is over."""
    cluster = led()
    cluster.advance(SETTINGS.heartbeat_interval)
    cluster.tell(1, TransferLeadership(2))
    cluster.tell(1, ReadRequest(b"r"))
    assert cluster.reads(1) == []
    cluster.deliver()
    assert cluster.role(2) is Role.LEADER
    assert cluster.reads(1) == []


def test_leases_without_check_quorum_are_refused() -> None:
    """6.4.1: voters would not keep them."""
    with pytest.raises(ValueError, match="lease reads without check quorum"):
        replace(SETTINGS, check_quorum=False)


@pytest.mark.parametrize("drift", [-0.1, 1.0])
def test_clock_drift_is_a_share(drift: float) -> None:
    """6.4.1: a bound on clock drift is assumed; without one there is no lease."""
    with pytest.raises(ValueError, match="is not a share"):
        replace(SETTINGS, clock_drift_max=drift)


def test_heartbeats_must_fit_into_the_election_timeout() -> None:
    """3.9: broadcast time, well below the election timeout."""
    with pytest.raises(ValueError, match="heartbeat interval"):
        Settings(election_timeout=timedelta(seconds=1), heartbeat_interval=timedelta(seconds=1))


def test_stale_leader_with_a_lease_is_out_of_it_before_its_successor_writes() -> None:
    """6.4.1: at no time is one read answered and another write acknowledged behind its back."""
    cluster = led()
    cluster.advance(SETTINGS.heartbeat_interval)
    cluster.isolate(1)
    answered_last = cluster.now
    for _ in range(400):
        cluster.advance(ELECTION / 100)
        before = len(cluster.reads(1))
        cluster.tell(1, ReadRequest(b"r"))
        if len(cluster.reads(1)) > before:
            answered_last = cluster.now
            assert cluster.leaders() == [1]
    assert cluster.leaders() != [1]
    assert cluster.now > answered_last


def test_recovered_log_alone_is_no_proof_of_leading() -> None:
    """6.4: a restarted leader answers nothing."""
    cluster = Cluster(recovered={1: logged(2, 2)})
    cluster.do(1, ReadRequest(b"r"))
    assert cluster.refusals(1) == ["no-leader"]

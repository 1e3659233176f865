"""Clients: chapter 6 of Ongaro's thesis, where they find the leader and what they read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.consensus.core.events import (
    Campaign,
    Propose,
    ReadReady,
    ReadRequest,
    Receive,
    Refusal,
    Refuse,
    TransferLeadership,
)
from moreton.consensus.core.messages import (
    AppendEntries,
    ForwardRead,
    ForwardReadResponse,
    Heartbeat,
    HeartbeatResponse,
    RequestVote,
)
from moreton.consensus.core.state import Role, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster, logged

SETTINGS = Settings(election_timeout=ELECTION)
PLAIN = replace(SETTINGS, pre_vote=False, check_quorum=False)
LEASES = replace(SETTINGS, lease_reads=True)


def led(settings: Settings = SETTINGS, *nodes: int) -> Cluster:
    cluster = Cluster(nodes or (1, 2, 3), settings=settings)
    cluster.now += 2 * ELECTION  # leases of an earlier life are over
    cluster.elect(1)
    return cluster


def rounds(cluster: Cluster) -> int:
    return max((message.round for message in cluster.sent(1, Heartbeat)), default=0)


# --- finding the leader (6.2) and doing things once (6.3) -----------------------------------------


def test_follower_passes_proposals_on() -> None:
    """6.2: a server that is not the leader may proxy the request to it."""
    cluster = led()
    cluster.propose(2, "x")
    assert cluster.data(2) == ["x"]


def test_follower_that_may_not_pass_on_names_the_leader() -> None:
    """6.2: or it refuses, and says whom it believes to lead."""
    cluster = led(replace(SETTINGS, forward=False))
    cluster.do(2, Propose(b"x"), ReadRequest(b"r"))
    assert cluster.of(2, Refuse) == [
        Refuse(Propose(b"x"), Refusal.NOT_LEADER, 1),
        Refuse(ReadRequest(b"r"), Refusal.NOT_LEADER, 1),
    ]


def test_deposed_leader_turns_clients_away() -> None:
    """6.2: a leader that a majority does not answer steps down, so that clients go elsewhere."""
    cluster = led()
    cluster.isolate(1)
    cluster.advance(2 * ELECTION)
    cluster.do(1, Propose(b"x"), ReadRequest(b"r"))
    assert cluster.refusals(1) == ["no-leader", "no-leader"]


# --- reads without the log (6.4) ------------------------------------------------------------------


def test_read_waits_for_a_majority_that_still_follows() -> None:
    """6.4: step 3, a round of heartbeats acknowledged by a majority of the cluster."""
    cluster = led()
    cluster.propose(1, "x")
    cluster.drop = lambda m: isinstance(m, HeartbeatResponse)
    cluster.read(1)
    assert cluster.reads(1) == []
    cluster.drop = lambda _: False
    cluster.advance(SETTINGS.heartbeat_interval)
    assert cluster.reads(1) == [ReadReady(b"read", 3)]


def test_read_sees_everything_that_was_acknowledged_before_it() -> None:
    """6.4: the read index is the commit index at the time of the request."""
    cluster = led()
    for count in range(1, 4):
        cluster.propose(1, f"x{count}")
        cluster.read(1, f"r{count}".encode())
    assert [read.index for read in cluster.reads(1)] == [3, 4, 5]


def test_read_needs_an_answer_to_heartbeats_sent_after_it_came() -> None:
    """6.4: an answer to an earlier round proves nothing about now."""
    cluster = led()
    cluster.advance(SETTINGS.heartbeat_interval)
    late = [m for m in cluster.sent(2, HeartbeatResponse) if m.round == 1]
    assert late
    cluster.isolate(1)
    cluster.tell(1, ReadRequest(b"r"))
    cluster.tell(1, *(Receive(message) for message in late))
    assert cluster.reads(1) == []


def test_new_leader_reads_only_after_an_entry_of_its_term_is_committed() -> None:
    """6.4: step 1, it may not know what is committed until then."""
    cluster = led(PLAIN)
    cluster.propose(1, "x")
    cluster.elect(2)
    cluster.drop = lambda m: isinstance(m, AppendEntries)
    cluster.elect(3)
    cluster.read(3)
    cluster.advance(SETTINGS.heartbeat_interval)
    assert cluster.reads(3) == []
    cluster.drop = lambda _: False
    cluster.advance(SETTINGS.heartbeat_interval * 2)
    assert cluster.reads(3) == [ReadReady(b"read", 5)]


def test_leader_that_was_replaced_without_knowing_cannot_answer() -> None:
    """6.4: or a client would read what is no longer true."""
    cluster = led(PLAIN)
    cluster.propose(1, "old")
    cluster.isolate(1)
    cluster.elect(2)
    cluster.propose(2, "new")
    cluster.read(1)
    cluster.advance(ELECTION)
    assert cluster.role(1) is Role.LEADER
    assert cluster.reads(1) == []
    cluster.heal()
    cluster.advance(ELECTION)
    assert cluster.reads(1) == []
    assert cluster.refusals(1) == ["leadership-lost"]


def test_reads_that_come_together_share_a_round() -> None:
    """6.4: one round of heartbeats serves any number of reads."""
    cluster = led()
    before = rounds(cluster)
    cluster.do(1, *(ReadRequest(f"{n}".encode()) for n in range(100)))
    assert len(cluster.reads(1)) == 100
    assert rounds(cluster) - before == 1


def test_reads_that_come_during_a_round_share_the_next() -> None:
    """6.4: they may not use the one that was sent before them."""
    cluster = led()
    before = rounds(cluster)
    cluster.tell(1, ReadRequest(b"a"))
    cluster.tell(1, ReadRequest(b"b"))
    cluster.tell(1, ReadRequest(b"c"))
    assert rounds(cluster) - before == 1
    cluster.deliver()
    assert [read.context for read in cluster.reads(1)] == [b"a", b"b", b"c"]
    assert rounds(cluster) - before == 2


def test_read_writes_nothing() -> None:
    """6.4: it bypasses the log."""
    cluster = led()
    before = cluster.state(1).log.last_index
    cluster.read(1)
    assert (len(cluster.reads(1)), cluster.state(1).log.last_index) == (1, before)


def test_follower_reads_by_asking_the_leader_for_the_index() -> None:
    """6.4: followers can offload reads; the leader only gives the index."""
    cluster = led()
    cluster.propose(1, "x")
    cluster.read(2)
    assert cluster.reads(2) == [ReadReady(b"read", 3)]
    assert cluster.sent(1, ForwardReadResponse)[0].index == 3
    assert cluster.reads(1) == []


def test_read_of_a_learner_is_served_too() -> None:
    """6.4: anyone who gets the log can read from it."""
    cluster = Cluster((1, 2, 3), learners=(4,), settings=SETTINGS)
    cluster.elect(1)
    cluster.read(4)
    assert cluster.reads(4) == [ReadReady(b"read", 2)]


def test_answers_of_learners_confirm_no_read() -> None:
    """6.4: they are no part of the majority."""
    cluster = Cluster((1, 2, 3), learners=(4, 5), settings=PLAIN)
    cluster.elect(1)
    cluster.isolate(2, 3)
    cluster.read(1)
    cluster.advance(ELECTION)
    assert cluster.reads(1) == []


def test_single_node_reads_at_once() -> None:
    """6.4: it is a majority of itself."""
    cluster = led(SETTINGS, 1)
    cluster.read(1)
    assert cluster.reads(1) == [ReadReady(b"read", 2)]


def test_reads_have_a_bound() -> None:
    """Ours: whoever cannot be served soon is told, instead of being kept."""
    cluster = led(replace(SETTINGS, reads_max=2))
    cluster.isolate(1)
    cluster.do(1, *(ReadRequest(f"{n}".encode()) for n in range(3)))
    assert cluster.refusals(1) == ["too-many-reads"]
    cluster.advance(2 * ELECTION)
    assert cluster.refusals(1) == ["too-many-reads", "leadership-lost", "leadership-lost"]


def test_read_that_was_passed_to_a_leader_that_is_gone_is_not_answered() -> None:
    """6.4: whoever asked tries again."""
    cluster = led(PLAIN)
    cluster.tell(2, ReadRequest(b"r"))
    cluster.restart(1)
    cluster.deliver()
    assert cluster.sent(2, ForwardRead)
    assert cluster.reads(2) == []


# --- leases (6.4.1) -------------------------------------------------------------------------------


def test_lease_answers_without_a_round() -> None:
    """6.4.1: once a majority has acknowledged, nobody is elected for an election timeout."""
    cluster = led(LEASES)
    cluster.advance(SETTINGS.heartbeat_interval)
    before = rounds(cluster)
    cluster.tell(1, ReadRequest(b"r"))
    assert cluster.reads(1) == [ReadReady(b"r", 2)]
    assert rounds(cluster) == before


@pytest.mark.parametrize(("after", "answered"), [(0.75, 1), (0.88, 0)])
def test_lease_ends_before_anyone_could_be_elected(after: float, answered: int) -> None:
    """6.4.1: even if clocks run apart by as much as is allowed, here a tenth each way."""
    cluster = led(LEASES)
    cluster.advance(SETTINGS.heartbeat_interval)
    sent = cluster.now  # the last round that was confirmed was sent now
    cluster.isolate(1)
    cluster.now = sent + ELECTION * after
    cluster.tell(1, ReadRequest(b"r"))
    assert len(cluster.reads(1)) == answered


def test_lease_counts_from_when_heartbeats_were_sent() -> None:
    """6.4.1: the start of the round, however late its answers come."""
    cluster = led(LEASES)
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
    cluster = led(LEASES)
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
    cluster = led(LEASES)
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
    cluster = led(LEASES)
    cluster.do(2, Campaign())
    assert cluster.refusals(2) == ["lease-held"]


def test_restarted_voter_waits_out_leases_that_it_has_forgotten() -> None:
    """6.4.1: memory of a heartbeat is volatile."""
    cluster = led(LEASES)
    cluster.advance(SETTINGS.heartbeat_interval)
    cluster.restart(2)
    ask = RequestVote(source=3, target=2, term=9, last_index=9, last_term=9)
    cluster.tell(2, Receive(ask))
    assert cluster.state(2).term == 2


def test_leader_that_hands_over_gives_up_its_lease() -> None:
    """6.4.1 and 3.10: its successor is elected before the lease is over."""
    cluster = led(LEASES)
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
        replace(LEASES, check_quorum=False)


@pytest.mark.parametrize("drift", [-0.1, 1.0])
def test_clock_drift_is_a_share(drift: float) -> None:
    """6.4.1: a bound on clock drift is assumed; without one there is no lease."""
    with pytest.raises(ValueError, match="is not a share"):
        replace(LEASES, clock_drift_max=drift)


def test_heartbeats_must_fit_into_the_election_timeout() -> None:
    """3.9: broadcast time, well below the election timeout."""
    with pytest.raises(ValueError, match="heartbeat interval"):
        Settings(election_timeout=timedelta(seconds=1), heartbeat_interval=timedelta(seconds=1))


def test_stale_leader_with_a_lease_is_out_of_it_before_its_successor_writes() -> None:
    """6.4.1: at no time is one read answered and another write acknowledged behind its back."""
    cluster = led(LEASES)
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

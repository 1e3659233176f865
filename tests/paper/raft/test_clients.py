"""Clients: chapter 6 of Ongaro's thesis, where they find the leader and what they read."""

from __future__ import annotations

from dataclasses import replace

from moreton.consensus.core.events import (
    Propose,
    ReadReady,
    ReadRequest,
    Receive,
    Refusal,
    Refuse,
)
from moreton.consensus.core.messages import (
    AppendEntries,
    ForwardRead,
    ForwardReadResponse,
    Heartbeat,
    HeartbeatResponse,
)
from moreton.consensus.core.reads import ROUNDS_MAX
from moreton.consensus.core.state import Role, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster

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


def test_leader_that_is_asked_too_much_by_others_stays_silent() -> None:
    """Ours: whoever asked tries again; the leader's own clients have nothing to do with it."""
    cluster = led(replace(SETTINGS, reads_max=1))
    cluster.isolate(1)
    asked = [Receive(ForwardRead(source=2, target=1, term=2, context=b"r")) for _ in range(3)]
    cluster.tell(1, *asked)
    assert cluster.refusals(1) == []


def test_answers_to_heartbeats_may_overtake_each_other() -> None:
    """6.4: an older answer takes nothing back."""
    cluster = led()
    cluster.isolate(1)
    cluster.tell(1, ReadRequest(b"a"))
    cluster.advance(SETTINGS.heartbeat_interval)
    newest = rounds(cluster)
    answers = [
        HeartbeatResponse(source=2, target=1, term=2, round=number) for number in (newest, 0)
    ]
    cluster.tell(1, *map(Receive, answers))
    assert [read.context for read in cluster.reads(1)] == [b"a"]


def test_leader_that_nobody_answers_keeps_no_endless_list_of_rounds() -> None:
    """Ours: without check quorum it may be alone for years."""
    cluster = led(PLAIN)
    cluster.isolate(1)
    for _ in range(ROUNDS_MAX + 100):
        cluster.now += SETTINGS.heartbeat_interval
        cluster.nodes[1].wake(cluster.now)
    assert len(cluster.nodes[1]._reads._sent_at) == ROUNDS_MAX


def test_read_that_was_passed_to_a_leader_that_is_gone_is_not_answered() -> None:
    """6.4: whoever asked tries again."""
    cluster = led(PLAIN)
    cluster.tell(2, ReadRequest(b"r"))
    cluster.restart(1)
    cluster.deliver()
    assert cluster.sent(2, ForwardRead)
    assert cluster.reads(2) == []

"""Performance and bounds: section 10.2 of Ongaro's thesis, and etcd's limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from moreton.consensus.core.events import (
    Applied,
    Apply,
    Persist,
    Persisted,
    Propose,
    Receive,
    Send,
    Unreachable,
)
from moreton.consensus.core.log import ENTRY_OVERHEAD_BYTES
from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    HeartbeatResponse,
)
from moreton.consensus.core.progress import ProgressState
from moreton.consensus.core.state import Settings
from unit.consensus.raft_cluster import ELECTION, Cluster

SETTINGS = Settings(election_timeout=ELECTION)
# What an entry of one letter counts for.
ONE = ENTRY_OVERHEAD_BYTES + 1


def led(settings: Settings = SETTINGS, *nodes: int) -> Cluster:
    cluster = Cluster(nodes or (1, 2, 3), settings=settings)
    cluster.elect(1)
    return cluster


def appends(cluster: Cluster, target: int) -> list[AppendEntries]:
    return [m for m in cluster.sent(1, AppendEntries) if m.target == target and m.entries]


def hold(cluster: Cluster) -> None:
    """Nobody answers from now on, and nothing arrives."""
    cluster.drop = lambda _: True


# --- batching, pipelining, writing in parallel (10.2) ---------------------------------------------


def test_proposals_that_come_together_share_a_write_and_a_message() -> None:
    """10.2.2: batching; as many entries as have come go out together."""
    cluster = led()
    before = len(appends(cluster, 2))
    effects = cluster.tell(1, *(Propose(b"x") for _ in range(100)))
    assert [len(e.entries) for e in effects if isinstance(e, Persist)] == [100]
    assert [len(m.entries) for m in appends(cluster, 2)[before:]] == [100]


def test_entries_go_out_before_those_before_them_are_acknowledged() -> None:
    """10.2.2: pipelining; the leader takes what it sent for received."""
    cluster = led()
    hold(cluster)
    before = len(appends(cluster, 2))
    for name in (b"a", b"b", b"c"):
        cluster.tell(1, Propose(name))
    sent = appends(cluster, 2)[before:]
    assert [m.prev_index for m in sent] == [2, 3, 4]
    assert cluster.state(1).progress[2].match == 2


def test_leader_sends_while_its_disk_writes() -> None:
    """10.2.1: in parallel; its own copy counts once it is durable."""
    cluster = led()
    effects = cluster.tell(1, Propose(b"x"))
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Send) < kinds.index(Persist)


def test_majority_of_others_commits_before_the_leaders_own_disk() -> None:
    """10.2.1: even that is safe."""
    cluster = led()
    cluster.slow_disks.add(1)
    cluster.propose(1, "x")
    assert cluster.data(1) == ["x"]
    number = cluster.of(1, Persist)[-1].number
    cluster.tell(1, Persisted(number))


def test_disk_may_report_an_older_write_after_a_newer_one() -> None:
    """10.2.1: the newer holds for both."""
    cluster = led(SETTINGS, 1)
    cluster.slow_disks.add(1)
    cluster.propose(1, "x")
    number = cluster.of(1, Persist)[-1].number
    cluster.tell(1, Persisted(number), Persisted(number - 1))
    assert cluster.data(1) == ["x"]


def test_state_machine_never_goes_back() -> None:
    """3.5: lastApplied only grows."""
    cluster = led()
    cluster.propose(1, "x")
    cluster.tell(1, Applied(2))
    assert cluster.nodes[1].status().applied == 3


def test_pipeline_that_lost_a_message_is_repaired() -> None:
    """10.2.2: the follower rejects what does not follow, and the leader goes back."""
    cluster = led()
    lost: list[int] = []

    def lose_one(message: object) -> bool:
        if isinstance(message, AppendEntries) and message.target == 2 and not lost:
            lost.append(message.prev_index)
            return True
        return False

    cluster.drop = lose_one
    for name in (b"a", b"b", b"c"):
        cluster.tell(1, Propose(name))
    cluster.deliver()
    cluster.advance(SETTINGS.heartbeat_interval * 2)
    assert lost
    assert cluster.data(2) == ["a", "b", "c"]
    assert cluster.state(1).progress[2].state is ProgressState.REPLICATE


def test_unreachable_follower_is_probed() -> None:
    """10.2.2: if the connection broke, the leader no longer takes messages for received."""
    cluster = led()
    hold(cluster)
    cluster.tell(1, Propose(b"a"))
    cluster.tell(1, Unreachable(2))
    assert cluster.state(1).progress[2].state is ProgressState.PROBE
    before = len(appends(cluster, 2))
    cluster.tell(1, Propose(b"b"))
    cluster.tell(1, Propose(b"c"))
    assert [m.prev_index for m in appends(cluster, 2)[before:]] == [2]  # one at a time


# --- windows --------------------------------------------------------------------------------------


def test_messages_in_flight_have_a_bound() -> None:
    """etcd, MaxInflightMsgs: a follower that does not answer is sent no more."""
    cluster = led(replace(SETTINGS, inflight_messages_max=3))
    hold(cluster)
    before = len(appends(cluster, 2))
    for _ in range(10):
        cluster.tell(1, Propose(b"x"))
    assert len(appends(cluster, 2)) - before == 3
    assert cluster.state(1).progress[2].paused


def test_bytes_in_flight_have_a_bound() -> None:
    """etcd, MaxInflightBytes: likewise."""
    cluster = led(replace(SETTINGS, inflight_bytes_max=3 * ONE))
    hold(cluster)
    before = len(appends(cluster, 2))
    for _ in range(10):
        cluster.tell(1, Propose(b"x"))
    assert len(appends(cluster, 2)) - before == 3


def test_answer_opens_the_window_again() -> None:
    """etcd, Inflights.FreeLE: an acknowledgement frees all up to it, and the rest goes out."""
    cluster = led(replace(SETTINGS, inflight_messages_max=3))
    hold(cluster)
    for _ in range(10):
        cluster.tell(1, Propose(b"x"))
    before = len(appends(cluster, 2))
    answer = AppendEntriesResponse(source=2, target=1, term=2, index=4)
    cluster.tell(1, Receive(answer))
    new = appends(cluster, 2)[before:]
    assert sum(len(m.entries) for m in new) == 7  # what had waited, in one message
    assert cluster.state(1).progress[2].match == 4


def test_answered_heartbeat_lets_a_full_window_ask_what_has_arrived() -> None:
    """etcd, MsgAppFlowPaused: without entries; a follower that lost them rejects it."""
    cluster = led(replace(SETTINGS, inflight_messages_max=2))
    hold(cluster)
    for _ in range(5):
        cluster.tell(1, Propose(b"x"))
    before = len(cluster.sent(1, AppendEntries))
    cluster.tell(1, Receive(HeartbeatResponse(source=2, target=1, term=2, round=1)))
    (asked,) = cluster.sent(1, AppendEntries)[before:]
    assert (asked.target, asked.prev_index, asked.entries) == (2, 4, ())
    cluster.drop = lambda _: False
    cluster.do(2, Receive(asked))
    assert cluster.data(2) == ["x"] * 5


def test_heartbeat_takes_a_follower_that_has_everything_out_of_probing() -> None:
    """etcd: so that the next entries need not go one by one."""
    cluster = led()
    cluster.tell(1, Unreachable(2))
    assert cluster.state(1).progress[2].state is ProgressState.PROBE
    cluster.advance(SETTINGS.heartbeat_interval * 2)
    assert cluster.state(1).progress[2].state is ProgressState.REPLICATE


def test_full_window_does_not_stall_a_follower_that_comes_back() -> None:
    """etcd: everything arrives in the end."""
    cluster = led(replace(SETTINGS, inflight_messages_max=2, append_bytes_max=ONE))
    hold(cluster)
    cluster.tell(1, *(Propose(b"x") for _ in range(20)))
    cluster.drop = lambda _: False
    cluster.advance(2 * ELECTION)
    assert [len(cluster.data(node)) for node in (1, 2, 3)] == [20] * 3


@pytest.mark.parametrize(("limit", "sizes"), [(ONE, [1, 1, 1, 1]), (2 * ONE, [2, 2]), (1, [1] * 4)])
def test_messages_are_no_larger_than_allowed_but_hold_an_entry(
    limit: int, sizes: list[int]
) -> None:
    """etcd, MaxSizePerMsg: one entry always goes, however large."""
    cluster = led(replace(SETTINGS, append_bytes_max=limit))
    before = len(appends(cluster, 2))
    cluster.tell(1, *(Propose(b"x") for _ in range(4)))
    assert [len(m.entries) for m in appends(cluster, 2)[before:]] == sizes


def test_leader_refuses_to_pile_up_what_nobody_commits() -> None:
    """etcd, MaxUncommittedEntriesSize: a leader without a majority must not run out of memory."""
    cluster = led(replace(SETTINGS, uncommitted_bytes_max=3 * ONE))
    cluster.isolate(2, 3)
    cluster.do(1, *(Propose(b"x") for _ in range(5)))
    assert cluster.refusals(1) == ["too-much-uncommitted"] * 2
    cluster.heal()
    cluster.advance(ELECTION)
    assert cluster.data(1) == ["x"] * 3
    cluster.do(1, *(Propose(b"y") for _ in range(3)))
    assert cluster.data(1) == ["x"] * 3 + ["y"] * 3


def test_single_proposal_of_any_size_is_taken() -> None:
    """etcd: or it could never be."""
    cluster = led(replace(SETTINGS, uncommitted_bytes_max=1))
    cluster.propose(1, "x" * 1000)
    assert cluster.data(2) == ["x" * 1000]


def test_slow_state_machine_is_given_no_more_than_it_may_hold() -> None:
    """etcd, MaxCommittedSizePerReady: the next comes when what was given is applied."""
    cluster = led(replace(SETTINGS, apply_bytes_max=2 * ONE), 1)
    node = cluster.nodes[1]
    first = node.handle_all([Propose(b"x") for _ in range(6)], cluster.now)
    (persist,) = [e for e in first if isinstance(e, Persist)]
    given = [e for e in node.handle(Persisted(persist.number), cluster.now) if isinstance(e, Apply)]
    assert [len(one.entries) for one in given] == [2]
    more = node.handle(Applied(given[0].entries[-1].index), cluster.now)
    assert [len(one.entries) for one in more if isinstance(one, Apply)] == [2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"append_bytes_max": 0},
        {"inflight_messages_max": 0},
        {"inflight_bytes_max": 0},
        {"uncommitted_bytes_max": 0},
        {"apply_bytes_max": 0},
        {"reads_max": -5},
        {"snapshot_timeout": timedelta(0)},
        {"kept_entries": -1},
    ],
    ids=str,
)
def test_bounds_that_allow_nothing_are_refused(wrong: dict[str, Any]) -> None:
    """Ours: a node that can send, apply or answer nothing would stand still without a word."""
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} is .*the node would stand still"):
        replace(SETTINGS, **wrong)

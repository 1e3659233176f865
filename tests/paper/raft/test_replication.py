"""Log replication: section 3.5 of Ongaro's thesis, figures 3.6 and 3.7, and 3.8 on what is kept."""

from __future__ import annotations

import pytest

from moreton.consensus.core.events import Apply, Persist, Propose, Receive, Send
from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    EntryKind,
    Heartbeat,
)
from moreton.consensus.core.state import Recovered, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster, logged

PLAIN = Settings(election_timeout=ELECTION, pre_vote=False, check_quorum=False)


def append(*terms: int, prev: tuple[int, int], term: int, commit: int = 1) -> Receive:
    """What node 1 sends node 2: entries of *terms* after *prev*, an index and a term."""
    entries = tuple(Entry(t, index, data=b"y") for index, t in enumerate(terms, prev[0] + 1))
    return Receive(
        AppendEntries(
            source=1,
            target=2,
            term=term,
            prev_index=prev[0],
            prev_term=prev[1],
            entries=entries,
            commit=commit,
        )
    )


def follower(*terms: int, term: int | None = None) -> Cluster:
    """Node 2, alone, with a log of *terms* from index 2 on."""
    return Cluster(recovered={2: logged(*terms, term=term)}, settings=PLAIN)


def terms(cluster: Cluster, node: int) -> list[int]:
    return [term for _, term in cluster.log(node)]


def answer(cluster: Cluster) -> AppendEntriesResponse:
    return cluster.sent(2, AppendEntriesResponse)[-1]


def test_leader_appends_at_its_own_term_and_sends_to_all() -> None:
    """3.5: the leader appends the command and sends it to each other server in parallel."""
    cluster = Cluster()
    cluster.elect(1)
    effects = cluster.tell(1, Propose(b"x"))
    assert cluster.log(1)[-1] == (3, 2)
    sent = [e.message for e in effects if isinstance(e, Send)]
    assert [m.target for m in sent] == [2, 3]
    for message in sent:
        assert isinstance(message, AppendEntries)
        assert (message.prev_index, message.prev_term) == (2, 2)
        assert message.entries == (Entry(2, 3, data=b"x"),)


def test_entry_is_committed_and_applied_once_a_majority_has_it() -> None:
    """3.5: an entry is committed once it is on a majority of the servers."""
    cluster = Cluster((1, 2, 3, 4, 5))
    cluster.elect(1)
    cluster.isolate(3, 4, 5)
    cluster.propose(1, "x")
    assert cluster.data(1) == []
    cluster.cuts = {cut for cut in cluster.cuts if 3 not in cut}
    cluster.isolate(4, 5)
    cluster.advance(ELECTION / 2)
    assert cluster.data(1) == ["x"]


def test_followers_apply_in_the_order_of_the_log() -> None:
    """3.5: a follower applies a committed entry to its state machine, in log order."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(1, "a", "b", "c")
    cluster.propose(1, "d")
    assert [cluster.data(node) for node in (1, 2, 3)] == [["a", "b", "c", "d"]] * 3


def test_committing_commits_what_stands_before_also_of_earlier_leaders() -> None:
    """3.5: this also commits all preceding entries, including those of previous leaders."""
    cluster = Cluster(
        recovered={1: logged(1, 2), 2: logged(1, 2), 3: logged(term=2)}, settings=PLAIN
    )
    cluster.elect(1)
    assert cluster.state(1).log.committed == 4
    assert cluster.data(3) == ["x", "x"]


def test_slow_follower_does_not_hold_up_the_others() -> None:
    """2.1: in the common case a command completes when a majority has answered one round."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, "a", "b")
    assert (cluster.data(1), cluster.data(2), cluster.data(3)) == (["a", "b"], ["a", "b"], [])


def test_leader_retries_until_everyone_has_everything() -> None:
    """3.5: it retries AppendEntries indefinitely, even after it has responded to the client."""
    cluster = Cluster()
    cluster.elect(1)
    lost: list[object] = []

    def lose_first(message: object) -> bool:
        if isinstance(message, AppendEntries) and message.target == 3 and len(lost) < 5:
            lost.append(message)
            return True
        return False

    cluster.drop = lose_first
    cluster.propose(1, "a")
    cluster.propose(1, "b")
    cluster.advance(2 * ELECTION)
    assert len(lost) == 5
    assert cluster.data(3) == ["a", "b"]


@pytest.mark.parametrize("prev", [(3, 3), (4, 2), (9, 9)])
def test_follower_refuses_entries_that_follow_what_it_lacks(prev: tuple[int, int]) -> None:
    """3.5: a follower without the entry before the new ones refuses them."""
    cluster = follower(1, 2)
    cluster.tell(2, append(3, prev=prev, term=3))
    assert answer(cluster).rejected
    assert terms(cluster, 2) == [1, 2]


def test_follower_acknowledges_what_it_has_made_durable() -> None:
    """3.8: entries are on stable storage before the answer counts for commitment."""
    cluster = follower(1, 2)
    effects = cluster.tell(2, append(3, prev=(3, 2), term=3))
    persist, send = effects[0], effects[1]
    assert isinstance(persist, Persist)
    assert isinstance(send, Send)
    assert persist.sync
    assert persist.entries == (Entry(3, 4, data=b"y"),)
    assert answer(cluster) == AppendEntriesResponse(source=2, target=1, term=3, index=4)


# Figure 3.6: what a follower's log may look like when the leader of term 8 comes to power. The
# leader's is at the top; ours count indices from 2, the paper's from 1.
LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
FOLLOWERS = {
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_leader_brings_every_log_of_the_figure_into_its_own_shape(name: str) -> None:
    """3.5, figure 3.6: conflicting entries are overwritten by the leader's."""
    others = FOLLOWERS[name]
    cluster = Cluster(
        recovered={
            1: logged(*LEADER, term=7),
            2: logged(*others, term=7),
            3: logged(*LEADER[:3], term=7),  # votes, whatever the log of node 2 is
        },
        settings=PLAIN,
    )
    cluster.elect(1)
    assert cluster.state(1).term == 8
    assert terms(cluster, 2) == terms(cluster, 1) == [*LEADER, 8]
    assert len(cluster.applied[2]) == len(LEADER) + 1


@pytest.mark.parametrize("name", FOLLOWERS)
def test_rejections_are_no_more_than_terms_that_differ(name: str) -> None:
    """3.5, end: one AppendEntries per term with conflicts, rather than one per entry."""
    others = FOLLOWERS[name]
    cluster = Cluster(
        recovered={
            1: logged(*LEADER, term=7),
            2: logged(*others, term=7),
            3: logged(*LEADER[:3], term=7),
        },
        settings=PLAIN,
    )
    cluster.elect(1)
    rejections = [m for m in cluster.sent(2, AppendEntriesResponse) if m.rejected]
    assert len(rejections) <= len(set(LEADER) ^ set(others)) + 1


@pytest.mark.parametrize(
    ("log", "prev", "new", "left"),
    [
        ((1, 2, 2), (3, 2), (3,), [1, 2, 3]),
        ((1, 2, 2), (2, 1), (3, 3), [1, 3, 3]),
        ((1, 2, 2), (1, 1), (3,), [3]),
        ((1, 2, 2), (4, 2), (3,), [1, 2, 2, 3]),
    ],
)
def test_follower_deletes_what_conflicts_and_all_that_follows(
    log: tuple[int, ...], prev: tuple[int, int], new: tuple[int, ...], left: list[int]
) -> None:
    """Figure 3.1, AppendEntries 3: an entry that conflicts goes, with all that follow it."""
    cluster = follower(*log)
    cluster.tell(2, append(*new, prev=prev, term=3))
    assert terms(cluster, 2) == left
    assert [e.term for e in cluster.disks[2].recovered.entries] == left


@pytest.mark.parametrize("new", [(), (2,), (2, 2)])
def test_old_message_does_not_shorten_the_log(new: tuple[int, ...]) -> None:
    """Figure 3.1, AppendEntries 3 and 4: what does not conflict stays."""
    cluster = follower(1, 2, 2)
    cluster.tell(2, append(*new, prev=(2, 1), term=2))
    assert terms(cluster, 2) == [1, 2, 2]
    assert answer(cluster).index == 2 + len(new)


def test_follower_commits_no_further_than_it_knows_its_log_to_match() -> None:
    """Figure 3.1, AppendEntries 5: commitIndex is at most the index of the last new entry."""
    cluster = follower(1, 2, 2)
    cluster.tell(2, append(prev=(2, 1), term=3, commit=4))
    assert cluster.state(2).log.committed == 2
    cluster.tell(2, append(3, prev=(2, 1), term=3, commit=9))
    assert (cluster.state(2).log.committed, terms(cluster, 2)) == (3, [1, 3])


def test_message_before_what_is_committed_is_answered_with_what_is() -> None:
    """3.6: committed entries match for certain."""
    cluster = follower(1, 2, 2)
    cluster.tell(2, append(prev=(4, 2), term=2, commit=4))
    cluster.tell(2, append(1, prev=(1, 1), term=2, commit=4))
    assert (answer(cluster).index, answer(cluster).rejected) == (4, False)


def test_append_of_an_old_leader_is_refused_with_the_present_term() -> None:
    """Figure 3.1, AppendEntries 1: false if term < currentTerm."""
    cluster = follower(1, 2, term=5)
    cluster.tell(2, append(3, prev=(3, 2), term=4))
    assert (answer(cluster).term, answer(cluster).index) == (5, 0)
    assert terms(cluster, 2) == [1, 2]


def test_leader_never_changes_its_own_log_but_at_the_end() -> None:
    """Figure 3.2, leader append-only."""
    cluster = Cluster(recovered={1: logged(1, 2), 2: logged(term=2), 3: logged(term=2)})
    cluster.elect(1)
    before = cluster.log(1)
    cluster.tell(1, append(9, prev=(1, 1), term=cluster.state(1).term))
    cluster.propose(1, "x")
    assert cluster.log(1) == [*before, (5, 3)]


def test_heartbeat_commits_nothing_that_the_follower_may_lack() -> None:
    """3.5: a heartbeat carries the commit index, here no more than is known to match."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, "x")
    cluster.heal()
    cluster.drop = lambda message: isinstance(message, AppendEntries)
    cluster.advance(ELECTION / 2)
    assert max(m.commit for m in cluster.sent(1, Heartbeat) if m.target == 3) == 2
    assert cluster.state(3).log.committed == 2


def test_proposal_without_a_leader_is_refused() -> None:
    """6.2: a client that asks someone else is turned away, or served by way of the leader."""
    cluster = Cluster()
    cluster.do(1, Propose(b"x"))
    assert cluster.refusals(1) == ["no-leader"]


def test_new_leader_appends_an_empty_entry() -> None:
    """6.4: a blank no-op entry into the log at the start of its term."""
    cluster = Cluster()
    cluster.elect(1)
    assert [e.kind for e in cluster.applied[2]] == [EntryKind.EMPTY]


def test_restarted_node_goes_on_from_its_disk() -> None:
    """3.8: term, vote and log survive; the commit index need not."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(1, "a", "b")
    cluster.restart(2)
    cluster.restart(3)
    assert cluster.state(2).log.last_index == 4
    cluster.advance(ELECTION / 2)
    assert (cluster.data(2), cluster.data(3)) == (["a", "b"], ["a", "b"])


def test_commit_index_that_was_lost_is_found_again() -> None:
    """3.8: commitIndex is volatile; it is learned anew."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(1, "a")
    for node in (1, 2, 3):
        recovered = cluster.disks[node].recovered
        state = recovered.hard_state
        cluster.disks[node].recovered = Recovered(
            type(state)(state.term, state.vote, 1), recovered.snapshot, recovered.entries
        )
        cluster.restart(node)
        assert cluster.of(node, Apply)
        assert cluster.data(node) == []
    cluster.advance(3 * ELECTION)
    assert [cluster.data(node) for node in (1, 2, 3)] == [["a"]] * 3


def test_single_node_commits_once_its_own_disk_has_it() -> None:
    """10.2.1: the leader counts itself only when its own write is durable."""
    cluster = Cluster((1,))
    cluster.elect(1)
    cluster.slow_disks.add(1)
    cluster.propose(1, "x")
    assert cluster.data(1) == []


def test_request_that_comes_twice_has_its_effect_once() -> None:
    """3.7: a request that is sent again has the same effect once."""
    cluster = Cluster(settings=PLAIN)
    cluster.elect(1)
    doubled = append(2, prev=(2, 2), term=2)
    cluster.tell(2, doubled)
    cluster.tell(2, doubled)
    assert terms(cluster, 2) == [2, 2]

"""Safety: sections 3.6 to 3.8 of Ongaro's thesis, and figure 3.7 (figure 8 of the paper)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from moreton.consensus.core.events import Campaign, Persist, Propose, Receive, Send
from moreton.consensus.core.messages import AppendEntries, RequestVote
from moreton.consensus.core.state import Recovered, Role, Settings
from unit.consensus.raft_cluster import ELECTION, Cluster, logged

PLAIN = Settings(election_timeout=ELECTION, pre_vote=False, check_quorum=False)
FIVE = (1, 2, 3, 4, 5)


def lead_among(cluster: Cluster, leader: int, *voters: int) -> None:
    """Elect *leader* while only *voters* hear it, and hold back what it replicates."""
    cluster.heal()
    cluster.isolate(*(set(FIVE) - {leader, *voters}))
    cluster.drop = lambda message: isinstance(message, AppendEntries)
    cluster.elect(leader)
    cluster.queue.clear()


def deliver_append(cluster: Cluster, leader: int, target: int, *, entries: int) -> None:
    """Give *target* the first *entries* of what *leader* sends it, and bring the answer back."""
    log = cluster.state(leader).log
    previous = log.last_index - entries
    message = AppendEntries(
        source=leader,
        target=target,
        term=cluster.state(leader).term,
        prev_index=previous,
        prev_term=log.term(previous) or 0,
        entries=tuple(log.entries(previous + 1)),
        commit=log.committed,
    )
    cluster.drop = lambda _: False
    cluster.do(target, Receive(message))


def figure_8() -> Cluster:
    """The situation (c): S1 leads term 4 and has just put its old entry of term 2 on a majority."""
    start = {node: logged(nodes=FIVE) for node in FIVE}
    start[1] = start[2] = logged(2, nodes=FIVE)  # (a): S1 led term 2 and reached S2 only
    start[5] = logged(3, nodes=FIVE)  # (b): S5 led term 3 and reached nobody
    for node in (3, 4):
        start[node] = logged(term=3, nodes=FIVE)
    start[1] = replace(start[1], hard_state=replace(start[1].hard_state, term=3))
    cluster = Cluster(FIVE, recovered=start, settings=PLAIN)
    lead_among(cluster, 1, 2, 3)
    assert cluster.state(1).term == 4
    return cluster


def spread_old_entry(cluster: Cluster) -> None:
    """S1 puts its entry of term 2, and only that, on S2 and S3, and hears that they have it."""
    old = tuple(cluster.state(1).log.entries(2, 3))
    cluster.drop = lambda message: isinstance(message, AppendEntries)
    for target in (2, 3):
        append = AppendEntries(
            source=1, target=target, term=4, prev_index=1, prev_term=1, entries=old
        )
        cluster.do(target, Receive(append))
    cluster.drop = lambda _: False


def test_entry_of_an_older_term_is_not_committed_by_counting() -> None:
    """3.6.2, figure 3.7 (c): on a majority, and yet not committed."""
    cluster = figure_8()
    spread_old_entry(cluster)
    assert [cluster.log(node) for node in (2, 3)] == [[(2, 2)], [(2, 2)]]
    assert [cluster.state(1).progress[node].match for node in (1, 2, 3)] == [3, 2, 2]
    assert cluster.state(1).log.committed == 1


def test_entry_on_a_majority_may_still_be_overwritten() -> None:
    """3.6.2, figure 3.7 (d): S5 wins with S2, S3 and S4 and replaces it."""
    cluster = figure_8()
    spread_old_entry(cluster)
    cluster.crash(1)
    cluster.heal()
    cluster.do(5, Campaign())  # in term 4, where S2 and S3 have voted already
    cluster.elect(5)
    assert all(cluster.log(node) == [(2, 3), (3, 5)] for node in (2, 3, 4, 5))
    cluster.start(1)
    cluster.advance(2 * ELECTION)
    assert cluster.log(1) == [(2, 3), (3, 5)]


def test_entry_of_the_present_term_on_a_majority_commits_all_before_it() -> None:
    """3.6.2, figure 3.7 (e): with an entry of term 4 on a majority S5 cannot win any more."""
    cluster = figure_8()
    for target in (2, 3):
        deliver_append(cluster, 1, target, entries=2)
    assert cluster.state(1).log.committed == 3
    cluster.crash(1)
    cluster.heal()
    cluster.do(5, Campaign())
    cluster.do(5, Campaign())
    assert cluster.role(5) is not Role.LEADER
    cluster.elect(2)
    assert cluster.log(5)[:2] == [(2, 2), (3, 4)]


def test_candidate_that_lacks_a_committed_entry_cannot_win() -> None:
    """3.6.1: of any majority one has every committed entry, and refuses."""
    cluster = Cluster(FIVE, settings=PLAIN)
    cluster.elect(1)
    cluster.isolate(4, 5)
    cluster.propose(1, "x")
    cluster.heal()
    cluster.crash(1)
    for _ in range(3):
        cluster.do(5, Campaign())
        assert cluster.role(5) is not Role.LEADER
    cluster.elect(2)
    assert cluster.data(5) == ["x"]


def test_leader_holds_every_entry_that_was_committed_before() -> None:
    """Figure 3.2, leader completeness: through a chain of leaders that each fail."""
    cluster = Cluster(FIVE)
    cluster.advance(2 * ELECTION)
    done: list[str] = []
    for step in range(8):
        (leader,) = cluster.leaders()
        done.append(f"x{step}")
        cluster.propose(leader, done[-1])
        assert cluster.data(leader)[-1] == done[-1]
        cluster.crash(leader)
        cluster.advance(6 * ELECTION)
        cluster.start(leader)
        cluster.advance(ELECTION)
    (leader,) = cluster.leaders()
    assert cluster.data(leader) == done
    assert {node: cluster.data(node) for node in FIVE} == dict.fromkeys(FIVE, done)


def test_two_leaders_of_one_term_are_impossible_even_if_all_campaign() -> None:
    """Figure 3.2, election safety: each votes once, and majorities meet."""
    cluster = Cluster(FIVE, settings=PLAIN)
    led: dict[int, set[int]] = {}
    rng = Random(1)
    for _ in range(50):
        for node in rng.sample(FIVE, 3):
            cluster.tell(node, Campaign())
        while cluster.queue:
            rng.shuffle(cluster.queue)
            cluster.tell((message := cluster.queue.popleft()).target, Receive(message))
            for node in cluster.leaders():
                led.setdefault(cluster.state(node).term, set()).add(node)
        for node in FIVE:
            cluster.restart(node)
    assert len(led) > 10
    assert all(len(nodes) == 1 for nodes in led.values())


def test_stale_leader_cannot_commit() -> None:
    """3.6.3: who leads an old term finds no majority, whatever it believes."""
    cluster = Cluster(FIVE, settings=PLAIN)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.elect(2)
    cluster.propose(1, "stale")
    cluster.propose(2, "fresh")
    assert (cluster.data(1), cluster.data(2)) == ([], ["fresh"])
    cluster.heal()
    cluster.advance(ELECTION)
    assert cluster.data(1) == ["fresh"]
    assert cluster.role(1) is Role.FOLLOWER


def test_crashed_candidate_and_follower_do_no_harm() -> None:
    """3.7: requests to who is down are repeated, and repeating them is harmless."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.crash(2)
    cluster.propose(1, "x")
    cluster.start(2)
    cluster.advance(ELECTION)
    assert cluster.data(2) == ["x"]


def test_answer_waits_for_the_disk() -> None:
    """3.8: what is promised is on stable storage first."""
    cluster = Cluster(recovered={3: logged()}, settings=PLAIN)
    asked = RequestVote(source=1, target=3, term=2, last_index=1, last_term=1)
    effects = cluster.tell(3, Receive(asked))
    assert [type(effect) for effect in effects] == [Persist, Send]
    assert cluster.disks[3].recovered.hard_state.vote == 1


def test_own_vote_and_own_log_count_only_once_durable() -> None:
    """3.8 and 10.2.1: a node is no exception to itself."""
    cluster = Cluster((1, 2, 3))
    cluster.slow_disks.add(1)
    cluster.isolate(3)
    cluster.do(1, Campaign())
    assert cluster.role(1) is Role.CANDIDATE  # node 2 said yes; its own yes is not durable
    cluster = Cluster((1, 2, 3))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.slow_disks.add(1)
    cluster.propose(1, "x")
    assert cluster.data(1) == []  # node 2 has it
    cluster.heal()
    cluster.advance(ELECTION / 2)
    assert cluster.data(1) == ["x"]  # two others have it: its own disk is not needed


def test_commit_index_that_nobody_syncs_holds_up_no_election() -> None:
    """3.8: it is volatile; a disk may leave it unwritten until something else is to be synced."""
    cluster = Cluster()
    cluster.lazy_disks.add(2)
    cluster.elect(1)
    cluster.propose(1, "x")
    assert not cluster.of(2, Persist)[-1].sync
    cluster.crash(1)
    cluster.now += 2 * ELECTION
    cluster.elect(2)


def test_node_without_its_disk_is_stopped_rather_than_trusted() -> None:
    """3.8: a server that loses its storage may not take part under its old name."""
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(1, "x")
    cluster.disks[2].recovered = Recovered()
    cluster.restart(2)
    assert cluster.nodes[2].deadline() is None  # it knows of no cluster: it never campaigns


def test_proposal_to_a_deposed_leader_is_not_lost_silently() -> None:
    """3.6.3: it is refused, so that a client may go elsewhere."""
    cluster = Cluster(settings=PLAIN)
    cluster.elect(1)
    cluster.elect(2)
    cluster.isolate(1)
    cluster.now += 3 * ELECTION
    cluster.do(1, Campaign(), Propose(b"x"))
    assert cluster.refusals(1) == ["no-leader"]

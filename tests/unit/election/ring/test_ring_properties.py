"""Whatever the ring, whoever begins, however slow and repetitive the channels are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.election.ring.core import theory
from moreton.election.ring.core.algorithms import Algorithm, new_node
from moreton.election.ring.core.frames import Ack, Carry, Decision, Frame, Ping
from moreton.election.ring.core.lap import elect
from moreton.election.ring.core.ring import (
    Announcement,
    Answer,
    Candidate,
    Coordinator,
    Direction,
    Election,
    Message,
    Probe,
    Received,
    Reply,
    Send,
    Start,
    Status,
    Uid,
)
from moreton.election.ring.wire import LINE_BYTES_MAX, decode, encode
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant

pytestmark = pytest.mark.slow

NOW = Instant(0)
NUMBERS = st.integers(-(2**31), 2**31)
UIDS = st.builds(Uid, NUMBERS, st.integers(0, 2**31), st.text(max_size=20))
RINGS = st.lists(UIDS, min_size=1, max_size=24, unique=True)
ON_RINGS = st.sampled_from([each for each in Algorithm if each is not Algorithm.BULLY])
COUNTS = st.integers(0, 2**53)


@given(ring=RINGS, algorithm=st.sampled_from(Algorithm), data=st.data())
def test_maximum_wins_whoever_begins(
    ring: list[Uid], algorithm: Algorithm, data: st.DataObject
) -> None:
    positions = st.sets(st.integers(0, len(ring) - 1), min_size=1)
    outcome = elect(ring, algorithm, initiators=data.draw(positions))
    if algorithm is Algorithm.BULLY:
        # Who is smaller than all that began is told as well.
        assert outcome.messages <= theory.bully_worst(len(ring))
    assert (outcome.leader, outcome.leaders, outcome.agreed) == (max(ring), 1, True)
    assert outcome.halted == len(ring)


@given(ring=RINGS, algorithm=ON_RINGS, seed=st.integers(0, 2**32))
def test_order_of_delivery_changes_neither_leader_nor_bounds(
    ring: list[Uid], algorithm: Algorithm, seed: int
) -> None:
    n = len(ring)
    outcome = elect(ring, algorithm, rng=seeded_rng(seed))
    assert (outcome.leader, outcome.leaders, outcome.halted) == (max(ring), 1, n)
    if algorithm is Algorithm.HIRSCHBERG_SINCLAIR:
        assert outcome.messages <= theory.hirschberg_sinclair_bound(n)
    else:
        assert theory.lcr_best(n) <= outcome.messages <= theory.lcr_worst(n)


@given(ring=RINGS)
def test_all_ring_algorithms_elect_the_same_leader(ring: list[Uid]) -> None:
    assert len({elect(ring, algorithm).leader for algorithm in Algorithm}) == 1


@given(
    ring=st.lists(UIDS, min_size=1, max_size=8, unique=True),
    algorithm=ON_RINGS,
    seed=st.integers(0, 2**32),
)
def test_no_second_leader_when_messages_overtake_and_repeat(
    ring: list[Uid], algorithm: Algorithm, seed: int
) -> None:
    """Beyond the papers: without order and with every message delivered up to three times."""
    rng = seeded_rng(seed)
    nodes = [new_node(algorithm, uid, ring) for uid in ring]
    under_way: list[tuple[int, Message]] = []

    def perform(position: int, effects: Sequence[object]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                assert isinstance(effect.to, Direction)
                target = (position + effect.to.value) % len(ring)
                under_way.extend([(target, effect.message)] * (1 + rng.randrange(2)))

    for position, node in enumerate(nodes):
        perform(position, node.handle(Start(), NOW))
    for _ in range(5000):
        if not under_way:
            break
        position, message = under_way.pop(rng.randrange(len(under_way)))
        perform(position, nodes[position].handle(Received(message), NOW))
        leaders = [node.uid for node in nodes if node.status is Status.LEADER]
        assert leaders in ([], [max(ring)])


MESSAGES = st.one_of(
    *(st.builds(kind, UIDS) for kind in (Candidate, Announcement, Election, Answer, Coordinator)),
    st.builds(Probe, UIDS, st.sampled_from(Direction), COUNTS, COUNTS),
    st.builds(Reply, UIDS, st.sampled_from(Direction), COUNTS),
)
DECISIONS = st.none() | st.builds(Decision, COUNTS, UIDS, st.none() | COUNTS)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Carry, COUNTS, COUNTS, COUNTS, MESSAGES, DECISIONS),
    st.builds(Ping, COUNTS, COUNTS, DECISIONS),
    st.builds(Ack, COUNTS, COUNTS, DECISIONS),
)


@given(source=UIDS, frame=FRAMES)
def test_frame_comes_out_of_its_line_as_it_went_in(source: Uid, frame: Frame) -> None:
    line = encode("jobs", source, frame)
    assert len(line) <= LINE_BYTES_MAX
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line, "jobs") == (source, frame)
    assert decode(line, "other") is None


@given(line=st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_nothing(line: bytes) -> None:
    assert decode(line, "jobs") is None


@given(frame=FRAMES, source=UIDS, data=st.data())
def test_damaged_line_never_raises(frame: Frame, source: Uid, data: st.DataObject) -> None:
    line = bytearray(encode("jobs", source, frame))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] = data.draw(st.integers(0, 255))
    found = decode(bytes(line), "jobs")
    assert found is None or isinstance(found[0], Uid)

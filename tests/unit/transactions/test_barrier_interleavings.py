"""Every order of actions, confirmations, undoings and their repetitions, statement by statement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement, product

import pytest

from moreton.transactions.barrier.call import Act, Call
from moreton.transactions.barrier.core import Verdict, judge
from support.serial_locks import Running, schedules

pytestmark = pytest.mark.slow

DO, CONFIRM, UNDO = Act.DO, Act.CONFIRM, Act.UNDO
# Each act up to twice, and both kinds of sagas and TCC.
MIXES = [
    mix
    for size in (1, 2, 3)
    for mix in combinations_with_replacement((DO, CONFIRM, UNDO), size)
    if all(mix.count(act) <= 2 for act in Act)
]


def effects(acts: Sequence[Act], running: Sequence[Running], order: list[int]) -> list[Act]:
    """What took effect, in the order of the commits."""
    return [acts[who] for who in order if running[who].verdict is Verdict.FIRST]


@pytest.mark.parametrize("acts", MIXES, ids="-".join)
def test_every_interleaving_leaves_each_effect_at_most_once(acts: tuple[Act, ...]) -> None:
    count = 0
    # Of two that go wrong the second meets what the first one left: nothing.
    for commits in product((True, False), repeat=len(acts)):
        if commits.count(False) > 1:
            continue

        def transactions(commits: tuple[bool, ...] = commits) -> list[Running]:
            return [
                Running(judge(Call("t", "b", act), 0), commit)
                for act, commit in zip(acts, commits, strict=True)
            ]

        for running, order in schedules(transactions):
            count += 1
            done = effects(acts, running, order)
            # The branch ends undone, confirmed or just done; each effect is there once at most,
            # and an undoing or a confirmation has an action before it.
            assert done in ([], [DO], [DO, UNDO], [DO, CONFIRM]), (acts, commits, done)
            undone = any(
                running[who].verdict in {Verdict.EMPTY, Verdict.FIRST}
                for who in order
                if acts[who] is UNDO
            )
            if undone:
                assert done in ([], [DO, UNDO]), (acts, commits, done)
            for who in order:
                assert (running[who].verdict is Verdict.LATE) <= (acts[who] is DO)
    assert count > len(acts)


@pytest.mark.soak
def test_an_action_and_its_undoing_twice_each_end_as_nothing() -> None:
    acts = (DO, DO, UNDO, UNDO)
    count = 0
    for running, order in schedules(
        lambda: [Running(judge(Call("t", "b", act), 0), commits=True) for act in acts]
    ):
        count += 1
        assert len(order) == len(acts)
        assert effects(acts, running, order) in ([], [DO, UNDO])
    assert count > 1000

"""The TCC machine: every order of answers, and of its expiry, ends confirmed or cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import product

import pytest

from moreton.kernel.time import Instant
from moreton.transactions.barrier import Act
from moreton.transactions.tcc.core.machine import (
    Answered,
    Ask,
    Decide,
    Decided,
    Effect,
    End,
    Note,
    Reply,
    State,
    Tcc,
)

START, EXPIRES = Instant(0), Instant(10)
LATE = EXPIRES + timedelta(seconds=1)
BRANCHES = ("a", "b")


def play(
    replies: Sequence[Reply], *, reverse: bool, expires_after: int, decided: State | None
) -> tuple[Tcc, list[Effect]]:
    """Answer every ask by *replies* in turn, and any that is left by `DONE`.

    *reverse*: the last branch answers first; the time is up after so many answers; the log says
    *decided* whatever is asked of it.
    """
    machine = Tcc(BRANCHES, EXPIRES)
    todo, seen = list(machine.start(START)), []
    left, answers = list(replies), 0
    while todo:
        effect = todo.pop(0)
        seen.append(effect)
        now = LATE if answers >= expires_after else START
        if isinstance(effect, Decide):
            todo += machine.handle(Decided(decided or effect.wanted), now)
        if isinstance(effect, Ask):
            for branch in reversed(effect.branches) if reverse else effect.branches:
                reply = left.pop(0) if left else Reply.DONE
                answers += 1
                now = LATE if answers >= expires_after else START
                todo += machine.handle(Answered(branch, effect.act, reply, "why"), now)
                todo += machine.wake(now)
    return machine, seen


def test_every_play_ends_by_its_first_decision() -> None:
    count = 0
    for replies in product(Reply, repeat=4):
        for reverse, expires_after, decided in product(
            (False, True), (1, 2, 99), (None, State.CANCELLING)
        ):
            count += 1
            machine, seen = play(
                replies, reverse=reverse, expires_after=expires_after, decided=decided
            )
            tried = [reply is Reply.DONE for reply in replies[:2]]
            expected = all(tried) and expires_after > 2 and decided is None
            wanted = {one.wanted for one in seen if isinstance(one, Decide)}
            acts = [one.act for one in seen if isinstance(one, Ask)]
            assert len([one for one in seen if isinstance(one, Decide)]) == 1, replies
            assert acts == [Act.DO, Act.CONFIRM if expected else Act.UNDO], replies
            assert (State.CONFIRMING in wanted) >= expected
            assert machine.is_at_rest
            last = seen[-1]
            if isinstance(last, Note):
                assert last.pending == machine.pending
                assert set(last.pending) <= set(BRANCHES)
                assert not machine.state.is_final
            else:
                assert last == End(State.CONFIRMED if expected else State.CANCELLED)
    assert count == 81 * 12


def test_a_machine_made_from_its_record_goes_on_where_it_was() -> None:
    done = Tcc(BRANCHES, EXPIRES, state=State.CONFIRMING, pending=["b"])
    assert done.start(LATE) == (Ask(Act.CONFIRM, ("b",)),)
    assert done.handle(Answered("b", Act.CONFIRM, Reply.DONE), LATE) == (End(State.CONFIRMED),)
    assert Tcc(BRANCHES, EXPIRES).start(LATE) == (Decide(State.CANCELLING),)
    assert Tcc(BRANCHES, EXPIRES, state=State.CONFIRMED).start(LATE) == ()


def test_answers_that_come_twice_or_too_late_change_nothing() -> None:
    machine = Tcc(BRANCHES, EXPIRES)
    machine.start(START)
    assert machine.handle(Answered("a", Act.DO, Reply.DONE), START) == ()
    assert machine.handle(Answered("a", Act.DO, Reply.REFUSED), START) == ()
    assert machine.handle(Answered("b", Act.CONFIRM, Reply.DONE), START) == ()
    assert machine.deadline() == EXPIRES
    assert machine.wake(LATE) == (Decide(State.CANCELLING),)
    assert machine.wake(LATE) == ()
    assert machine.deadline() is None
    assert machine.handle(Decided(State.CANCELLING), LATE) == (Ask(Act.UNDO, BRANCHES),)
    assert machine.handle(Decided(State.CONFIRMING), LATE) == ()
    assert machine.handle(Answered("b", Act.DO, Reply.DONE), LATE) == ()
    assert not machine.is_at_rest


@pytest.mark.parametrize("state", State)
def test_a_state_is_final_only_if_it_is_decided(state: State) -> None:
    assert state.is_final <= state.is_decided

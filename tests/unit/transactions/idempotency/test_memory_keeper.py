"""What a process keeps of keys is bounded, by keys and by the bytes of answers."""

from __future__ import annotations

import pytest

from moreton.transactions.idempotency import MemoryKeeper
from moreton.transactions.idempotency.core.claims import Kept
from moreton.transactions.idempotency.core.keys import Stored
from moreton.transactions.idempotency.keeping import Slot

HOUR_MS = 3_600_000


def answered(keeper: MemoryKeeper, key: str, body: bytes, *, now_ms: int = 0) -> Slot:
    slot = Slot("ada", key)
    assert keeper.add(slot, Kept("print", key, 1, 0, None), now_ms + HOUR_MS, now_ms) is None
    assert keeper.answer(slot, key, 201, Stored(201, (), body))
    return slot


def kept(keeper: MemoryKeeper, slot: Slot) -> Kept | None:
    return keeper.add(slot, Kept("print", "again", 1, 0, None), HOUR_MS, 0)


def test_the_oldest_answers_go_first_and_their_keys_stay() -> None:
    keeper = MemoryKeeper(answer_bytes_max=25)
    slots = [answered(keeper, key, key.encode() * 10) for key in "abc"]
    found = [kept(keeper, slot) for slot in slots]
    assert [one.stored.body if one and one.stored else None for one in found] == [
        None,
        b"b" * 10,
        b"c" * 10,
    ]
    assert all(one is not None and one.is_answered for one in found), "nothing is done again"


def test_an_answer_above_the_bound_is_not_kept_and_its_key_is() -> None:
    keeper = MemoryKeeper(answer_bytes_max=5)
    found = kept(keeper, answered(keeper, "large", b"x" * 6))
    assert found is not None
    assert (found.status, found.stored) == (201, None)


def test_answers_that_are_gone_make_room() -> None:
    keeper = MemoryKeeper(keys_max=2, answer_bytes_max=20)
    for key in "abcd":
        answered(keeper, key, b"x" * 10)
    assert keeper.forget_expired(HOUR_MS) == 2
    last = [answered(keeper, key, b"y" * 10, now_ms=HOUR_MS) for key in "ef"]
    found = [keeper.add(slot, Kept("print", "", 1, 0, None), 0, HOUR_MS) for slot in last]
    assert all(one is not None and one.stored is not None for one in found)


@pytest.mark.parametrize("wrong", [{"keys_max": 0}, {"answer_bytes_max": -1}])
def test_bounds_that_are_none_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MemoryKeeper(**wrong)

"""The checker against one that tries every order, and against histories that are right by making.

Small histories are drawn as events: who begins, and who is answered what. The twin knows registers
and the store only by what they do, one operation after another.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.kernel.rng import seeded_rng
from moreton.sim.linearizability import (
    Call,
    CasRegister,
    Register,
    StoreModel,
    check_history,
    shown_request,
    shown_result,
)
from moreton.sim.linearizability.making import RegisterObject, Workload, draw_register, record
from moreton.sim.linearizability.model import Model
from moreton.store.core.model import Compare, Delete, Op, Put, Range, Transaction
from moreton.store.core.state import State


class Object(Protocol):
    """Does one thing at a time, and tells what it tells a client."""

    def do(self, op: str, key: Any, argument: Any) -> Any: ...


class StoreObject:
    """The store's own state, and requests as objects beside those that histories show."""

    def __init__(self) -> None:
        self._state = State()

    def do(self, op: str, key: Any, argument: Any) -> Any:
        del op, key
        return shown_result(self._state.apply(REQUESTS[repr(argument)])[0])


def exchanged(key: bytes, version: int, value: bytes) -> Transaction:
    guard = (Compare(key, "version", "=", version),)
    return Transaction(guard, (Put(key, value),), (Range(b"a", b"z"),))


OPS: tuple[Op, ...] = (Put(b"a", b"1"), Put(b"b", b"2"), Delete(b"a"), Range(b"a", b"c"))
TRANSACTIONS = [
    *(Transaction(then=(op,)) for op in OPS),
    *(exchanged(key, version, b"3") for key in (b"a", b"b") for version in (0, 1)),
]
REQUESTS = {repr(shown_request(each)): each for each in TRANSACTIONS}


def fits_some_order(calls: Sequence[Call], build: type[Object]) -> bool:
    """Whether some order of all known and some unknown *calls* explains every answer."""
    unknown = [call for call in calls if call.ended is None]
    for count in range(len(unknown) + 1):
        for left_out in itertools.combinations(unknown, count):
            chosen = [call for call in calls if call not in left_out]
            if any(_explains(order, build) for order in itertools.permutations(chosen)):
                return True
    return False


def _explains(order: Sequence[Call], build: type[Object]) -> bool:
    for earlier, later in itertools.combinations(order, 2):
        if later.ended is not None and later.ended < earlier.began:
            return False
    twin = build()
    return all(
        twin.do(call.op, call.key, call.argument) == call.result or call.ended is None
        for call in order
    )


REGISTER_ANSWERS = {"read": (None, 0, 1), "write": (None,), "cas": (True, False)}


def register_call(rng: Random, *, cas: bool) -> tuple[str, Any, Any]:
    op = ("read", "write", "cas")[rng.randrange(3 if cas else 2)]
    if op == "read":
        return op, None, REGISTER_ANSWERS[op][rng.randrange(3)]
    value = rng.randrange(2)
    if op == "write":
        return op, value, None
    return op, [rng.randrange(2), value], rng.random() < 0.5


def small_history(rng: Random, *, calls_max: int, cas: bool) -> list[Call]:
    """A few calls with any answers: mostly wrong ones."""
    count = 1 + rng.randrange(calls_max)
    lines = list(range(1, 2 * count + 1))
    rng.shuffle(lines)
    calls = []
    for process in range(count):
        began, ended = sorted(lines[2 * process : 2 * process + 2])
        op, argument, result = register_call(rng, cas=cas)
        known = rng.random() < 0.8
        calls.append(
            Call(
                process,
                op,
                "x",
                argument,
                result if known else None,
                began,
                ended if known else None,
            )
        )
    return sorted(calls, key=lambda call: call.began)


@pytest.mark.parametrize("model", [Register, CasRegister])
def test_verdicts_are_those_of_trying_every_order(model: type[Model]) -> None:
    verdicts: Counter[bool] = Counter()
    for seed in range(3000):
        calls = small_history(seeded_rng(seed), calls_max=6, cas=model is CasRegister)
        expected = fits_some_order(calls, RegisterObject)
        verdicts[expected] += 1
        assert check_history(calls, model()).is_linearizable is expected, (seed, calls)
    assert min(verdicts.values()) > 500


@given(st.randoms(use_true_random=False), st.booleans())
@settings(deadline=None, max_examples=300)
def test_verdicts_are_those_of_trying_every_order_of_any_history(rng: Random, cas: bool) -> None:  # noqa: FBT001 - drawn
    calls = small_history(rng, calls_max=5, cas=cas)
    expected = fits_some_order(calls, RegisterObject)
    assert check_history(calls, CasRegister()).is_linearizable is expected


def store_history(rng: Random, *, operations: int, unknown: float) -> list[Call]:
    requests = list(REQUESTS.values())

    def draw(rng: Random, number: int) -> tuple[str, Any, Any]:
        del number
        return "txn", None, shown_request(requests[rng.randrange(len(requests))])

    workload = Workload(operations, 3, draw, StoreObject().do, unknown)
    return record(workload, rng).calls()


def test_verdicts_on_the_store_are_those_of_trying_every_order() -> None:
    """A right history, in which the answer of one transaction is given to another as well."""
    verdicts: Counter[bool] = Counter()
    for seed in range(600):
        rng = seeded_rng(seed)
        calls = store_history(rng, operations=5, unknown=0.2)
        known = [place for place, call in enumerate(calls) if call.ended is not None]
        if len(known) > 1 and rng.random() < 0.7:
            one, other = rng.sample(known, 2)
            calls[one] = replace(calls[one], result=calls[other].result)
        expected = fits_some_order(calls, StoreObject)
        verdicts[expected] += 1
        assert check_history(calls, StoreModel()).is_linearizable is expected, (seed, calls)
    assert min(verdicts.values()) > 100


def right_histories(count: int, *, unknown: float) -> Iterator[tuple[int, list[Call]]]:
    for seed in range(count):
        rng = seeded_rng(f"right {seed}")
        draw = draw_register((0, 3, 20)[seed % 3], cas=seed % 2 == 0)
        clients = 2 + rng.randrange(8)
        workload = Workload(100, clients, draw, RegisterObject().do, unknown * (seed % 4 > 1))
        yield seed, record(workload, rng).calls()


def test_what_an_atomic_object_answered_is_accepted() -> None:
    for seed, calls in right_histories(120, unknown=0.1):
        verdict = check_history(calls, CasRegister())
        assert verdict.is_linearizable, (seed, str(verdict))


def test_what_the_store_answered_is_accepted() -> None:
    for seed in range(40):
        calls = store_history(seeded_rng(f"store {seed}"), operations=60, unknown=0.05)
        verdict = check_history(calls, StoreModel())
        assert verdict.is_linearizable, (seed, str(verdict))


def test_read_of_what_nobody_wrote_is_caught_anywhere() -> None:
    for seed, calls in right_histories(60, unknown=0.02):
        reads = [place for place, call in enumerate(calls) if call.op == "read" and call.ended]
        place = reads[seeded_rng(seed).randrange(len(reads))]
        calls[place] = replace(calls[place], result="nobody")
        (violation,) = check_history(calls, CasRegister()).violations
        assert violation.unplaced == calls[place], seed


def test_read_of_what_was_certainly_overwritten_is_caught() -> None:
    caught = 0
    for seed, calls in right_histories(120, unknown=0.02):
        stale = _made_stale(calls)
        if stale is not None:
            caught += 1
            assert not check_history(stale, CasRegister()).is_linearizable, seed
    assert caught > 20


def _made_stale(calls: list[Call]) -> list[Call] | None:
    """*calls* with a read of a value that was written once, and overwritten before it began."""
    writes = [call for call in calls if call.op == "write"]
    news = Counter(
        repr(call.argument if call.op == "write" else call.argument[1])
        for call in calls
        if call.op != "read"
    )
    for place, read in enumerate(calls):
        if read.op != "read" or read.ended is None:
            continue
        for over in writes:
            if over.ended is None or over.ended >= read.began:
                continue
            for old in writes:
                once = news[repr(old.argument)] == 1
                if once and old.ended is not None and old.ended < over.began:
                    changed = replace(read, result=old.argument)
                    return [*calls[:place], changed, *calls[place + 1 :]]
    return None


def test_two_answers_that_are_swapped_are_judged_as_by_trying_every_order() -> None:
    verdicts: Counter[bool] = Counter()
    for seed in range(400):
        rng = seeded_rng(f"swap {seed}")
        workload = Workload(6, 3, draw_register(0, cas=False), RegisterObject().do)
        calls = record(workload, rng).calls()
        reads = [place for place, call in enumerate(calls) if call.op == "read"]
        if len(reads) < 2:
            continue
        one, other = rng.sample(reads, 2)
        swapped = list(calls)
        swapped[one] = replace(calls[one], result=calls[other].result)
        swapped[other] = replace(calls[other], result=calls[one].result)
        expected = fits_some_order(swapped, RegisterObject)
        verdicts[expected] += 1
        assert check_history(swapped, Register()).is_linearizable is expected, seed
    assert min(verdicts.values()) > 20

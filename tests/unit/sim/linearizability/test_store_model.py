"""Histories of the store: transactions, ranges, revisions."""

from __future__ import annotations

from typing import Any

import pytest

from moreton.sim.linearizability import (
    Call,
    HistoryNotValid,
    StoreModel,
    check_history,
    shown_range,
    shown_request,
    shown_result,
)
from moreton.store import Compare, Delete, LeaseId, Put, Range, open_store
from moreton.store.core.model import Transaction

STORE = StoreModel()


def verdict(*calls: Call) -> bool:
    return check_history(sorted(calls, key=lambda call: call.began), STORE).is_linearizable


def put(began: int, ended: int | None, key: str, value: str, revision: int | None = None) -> Call:
    told = {} if revision is None else {"revision": revision}
    return Call(began, "put", key, value, told if ended else None, began, ended)


def saw(began: int, ended: int, key: str, *values: str, revision: int | None = None) -> Call:
    told: dict[str, Any] = {"kvs": [{"key": key, "value": value} for value in values]}
    if revision is not None:
        told["revision"] = revision
    return Call(began, "range", key, None, told, began, ended)


def txn(began: int, ended: int | None, asked: dict[str, Any], told: dict[str, Any]) -> Call:
    return Call(began, "txn", None, asked, told if ended else None, began, ended)


def exchange(version: int, value: str) -> dict[str, Any]:
    compare = {"key": "a", "target": "version", "operator": "=", "operand": version}
    then = {"op": "put", "key": "a", "value": value}
    return {"compare": [compare], "then": [then], "else": [{"op": "range", "key": "a"}]}


def test_writes_make_one_revision_each() -> None:
    assert verdict(put(1, 2, "a", "1", 2), put(3, 4, "b", "2", 3), saw(5, 6, "a", "1", revision=3))
    assert not verdict(put(1, 2, "a", "1", 2), put(3, 4, "b", "2", 4))
    assert not verdict(put(1, 2, "a", "1", 3))


def test_concurrent_writes_may_come_in_either_order_but_not_in_both() -> None:
    assert verdict(put(1, 4, "a", "1", 3), put(2, 3, "a", "2", 2), saw(5, 6, "a", "1"))
    assert not verdict(put(1, 4, "a", "1", 3), put(2, 3, "a", "2", 2), saw(5, 6, "a", "2"))
    assert not verdict(put(1, 4, "a", "1", 2), put(2, 3, "a", "2", 2))


def test_stale_range_is_rejected() -> None:
    assert not verdict(put(1, 2, "a", "1"), put(3, 4, "a", "2"), saw(5, 6, "a", "1"))
    assert not verdict(put(1, 2, "a", "1"), saw(3, 4, "a"))


def test_keys_are_one_object_since_they_share_the_revision() -> None:
    """Each key alone would be in order."""
    assert not verdict(
        put(1, 6, "a", "1"),
        put(2, 7, "b", "1"),
        Call(8, "range", "a", {"end": "c"}, {"count": 2, "revision": 4}, 8, 9),
    )


def test_put_of_unknown_outcome_may_show_later_or_never() -> None:
    assert verdict(put(1, None, "a", "1"), saw(2, 3, "a"), saw(4, 5, "a", "1", revision=2))
    assert verdict(put(1, None, "a", "1"), saw(2, 3, "a", revision=1), put(4, 5, "b", "2", 2))
    assert not verdict(put(1, None, "a", "1"), saw(2, 3, "a", "1"), saw(4, 5, "a"))


def test_of_two_exchanges_one_succeeds() -> None:
    won, lost = {"succeeded": True}, {"succeeded": False}
    assert verdict(txn(1, 3, exchange(0, "1"), won), txn(2, 4, exchange(0, "2"), lost))
    assert not verdict(txn(1, 3, exchange(0, "1"), won), txn(2, 4, exchange(0, "2"), won))
    assert not verdict(txn(1, 3, exchange(0, "1"), lost), txn(2, 4, exchange(0, "2"), lost))


def test_loser_of_an_exchange_sees_the_winner() -> None:
    won = {"succeeded": True, "revision": 2, "results": [{"prev": None}]}
    for value, is_right in (("1", True), ("2", False)):
        seen = {"succeeded": False, "results": [{"kvs": [{"key": "a", "value": value}]}]}
        calls = txn(1, 3, exchange(0, "1"), won), txn(2, 4, exchange(0, "2"), seen)
        assert verdict(*calls) is is_right


def test_deleting_nothing_makes_no_revision() -> None:
    nothing = Call(1, "delete", "a", None, {"deleted": 0, "revision": 1}, 1, 2)
    assert verdict(nothing, put(3, 4, "a", "1", 2))
    something = Call(5, "delete", "a", {"end": "z"}, {"deleted": 1, "revision": 3}, 5, 6)
    assert verdict(nothing, put(3, 4, "a", "1", 2), something, saw(7, 8, "a"))


async def test_what_the_real_store_answers_is_accepted() -> None:
    requests = (
        Transaction(then=(Put(b"a", b"1"), Put(b"b", b"\xff"))),
        Transaction((Compare(b"a", "value", "=", b"1"),), (Delete(b"a"),), (Range(b"a"),)),
        Transaction((Compare(b"a", "version", ">", 0),), (Put(b"a", b"2"),), (Range(b"", b"c"),)),
        Transaction((Compare(b"b", "mod", "<", 3),), (Put(b"b", b"3"), Range(b"b"))),
    )
    calls = []
    store = open_store("memory:")
    for number, request in enumerate(requests):
        told = shown_result(await store.txn(request.compare, request.then, request.otherwise))
        calls.append(txn(3 * number + 1, 3 * number + 2, shown_request(request), told))
    found = shown_range(await store.range(b"a", b"z", limit=1))
    asked = {"end": "z", "limit": 1}
    calls.append(Call("r", "range", "a", asked, found, 100, 101))
    await store.close()
    assert verdict(*calls)
    # Every field of every answer counts.
    last = calls[-1]
    for name, wrong in (("revision", 9), ("count", 7), ("kvs", [])):
        changed = Call("r", "range", "a", asked, {**found, name: wrong}, last.began, last.ended)
        assert not verdict(*calls[:-1], changed), name


def test_violation_shows_the_store() -> None:
    calls = put(1, 2, "a", "1"), saw(3, 4, "a", "2")
    text = str(check_history(calls, STORE))
    assert "the store is not linearizable" in text
    assert 'it is at revision 2 and holds "a" = "1" (version 1, revision 2)' in text
    assert 'range "a", saw {"kvs":[{"key":"a","value":"2"}]}' in text


@pytest.mark.parametrize(
    ("op", "key", "argument", "result", "says"),
    [
        ("put", "a", 1, {}, "value is 1; write a string"),
        ("put", 1, "a", {}, "key is 1; write a string"),
        ("put", "a", "1", [], "the result of put is []; write an object"),
        ("put", "a", "1", {"kvs": []}, "the result of put has kvs; write prev, revision"),
        ("range", "a", {"till": "z"}, {"kvs": []}, "a range has till; write end, limit"),
        ("range", "a", {"limit": "9"}, {"kvs": []}, 'limit is "9"; write a whole number'),
        ("range", "a", None, {}, "a range that is ok and tells neither kvs nor count"),
        ("txn", None, [], {}, "a txn is []; write an object"),
        ("txn", None, {"if": []}, {}, "a txn has if; write compare, else, then"),
        ("txn", None, {"then": {}}, {}, "then is {}; write a list"),
        ("txn", None, {"then": [{"op": "get"}]}, {}, 'op "get" within a txn; write put, delete'),
        ("txn", None, {"compare": [{"target": "lease"}]}, {}, 'compare\'s target is "lease"'),
    ],
)
def test_bad_operation_is_named(op: str, key: Any, argument: Any, result: Any, says: str) -> None:
    with pytest.raises(HistoryNotValid) as caught:
        check_history([Call(0, op, key, argument, result, 1, 2)], STORE)
    assert says in str(caught.value)
    assert str(caught.value).startswith("line 1: ")


def test_requests_that_histories_cannot_hold_are_refused() -> None:
    for op in (Put(b"a", b"1", lease=LeaseId(7)), Range(b"a", revision=3)):
        with pytest.raises(ValueError, match="cannot be recorded"):
            shown_request(Transaction(then=(op,)))
    with pytest.raises(ValueError, match="cannot be recorded"):
        shown_request(Transaction((Compare(b"a", "lease", "=", 7),)))

"""The store's operations as histories write them, read into the store's own types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast, get_args

from moreton.sim.linearizability.errors import Unreadable
from moreton.sim.linearizability.history import Call, canonical
from moreton.store.core.errors import StoreError
from moreton.store.core.model import (
    Compare,
    CompareOperator,
    CompareTarget,
    Delete,
    Op,
    Put,
    Range,
    Transaction,
)

_TARGETS = tuple(name for name in get_args(CompareTarget) if name != "lease")
_PAIR = frozenset({"key", "value", "create_revision", "mod_revision", "version"})
# Which fields each operation's result may have, within a transaction.
_RESULTS = {
    "put": frozenset({"prev"}),
    "delete": frozenset({"deleted", "prev"}),
    "range": frozenset({"kvs", "count"}),
}
_RESULT = frozenset().union(*_RESULTS.values())
_TXN = frozenset({"succeeded", "revision", "results"})


def read_request(call: Call) -> Transaction:
    """What *call* asked. Raises `ValueError`."""
    try:
        if call.op != "txn":
            return Transaction(then=(_op(call.op, call.key, call.argument),))
        asked = _mapping(call.argument, "a txn", {"compare", "then", "else"})
        return Transaction(
            tuple(_compare(each) for each in _listed(asked, "compare")),
            tuple(_nested(each) for each in _listed(asked, "then")),
            tuple(_nested(each) for each in _listed(asked, "else")),
        )
    except StoreError as error:
        raise Unreadable(str(error)) from None


def read_result(call: Call) -> Mapping[str, Any]:
    """What *call* was told, as a transaction's answer; what is not given is not judged.

    Raises `ValueError`.
    """
    told = _mapping({} if call.result is None else call.result, f"the result of {call.op}", None)
    if call.op == "txn":
        _mapping(told, "the result of txn", _TXN)
        answer = {name: value for name, value in told.items() if value is not None}
        if "results" in answer:
            results = [{} if each is None else each for each in _listed(answer, "results")]
            answer["results"] = [_result(each, "one of results", _RESULT) for each in results]
        return answer
    fields = _RESULTS[call.op]
    _result(told, f"the result of {call.op}", fields | {"revision"})
    if call.op == "range" and not fields & told.keys():
        raise Unreadable("a range that is ok and tells neither kvs nor count; write what it found")
    answer = {"results": [{key: told[key] for key in sorted(fields & told.keys())}]}
    if told.get("revision") is not None:
        answer["revision"] = told["revision"]
    return answer


def _op(name: object, key: object, argument: Any) -> Op:
    match name:
        case "put":
            return Put(_bytes(key, "key"), _bytes(argument, "value"))
        case "delete":
            asked = _mapping(argument or {}, "a delete", {"end"})
            return Delete(_bytes(key, "key"), _end(asked))
        case "range":
            asked = _mapping(argument or {}, "a range", {"end", "limit"})
            limit = asked.get("limit")
            if limit is not None:
                limit = _number(limit, "limit")
            return Range(_bytes(key, "key"), _end(asked), limit=limit)
        case _:
            message = f"op {canonical(name)} within a txn; write put, delete or range"
            raise Unreadable(message)


def _nested(found: Any) -> Op:
    op = found.get("op") if isinstance(found, dict) else None
    allowed = {"put": {"value"}, "delete": {"end"}, "range": {"end", "limit"}}
    asked = _mapping(found, "an operation of a txn", {"op", "key", *allowed.get(op or "", ())})
    if op == "put":
        return _op(op, asked.get("key"), asked.get("value"))
    return _op(op, asked.get("key"), {k: v for k, v in asked.items() if k not in {"op", "key"}})


def _compare(found: Any) -> Compare:
    asked = _mapping(found, "a compare", {"key", "target", "operator", "operand", "end"})
    target, operator = asked.get("target"), asked.get("operator")
    if target not in _TARGETS:
        raise Unreadable(f"compare's target is {canonical(target)}; write {_any_of(_TARGETS)}")
    if operator not in get_args(CompareOperator):
        operators = _any_of(get_args(CompareOperator))
        raise Unreadable(f"compare's operator is {canonical(operator)}; write {operators}")
    read = _bytes if target == "value" else _number
    return Compare(
        _bytes(asked.get("key"), "key"),
        cast("CompareTarget", target),
        cast("CompareOperator", operator),
        read(asked.get("operand"), "operand"),
        _end(asked),
    )


def _result(found: Any, what: str, fields: Collection[str]) -> Mapping[str, Any]:
    _mapping(found, what, fields)
    for name in ("kvs", "prev"):
        pairs = found.get(name)
        for pair in pairs if isinstance(pairs, list) else [pairs]:
            if pair is not None:
                _mapping(pair, f"one of {name}", _PAIR)
    return cast("Mapping[str, Any]", found)


def _mapping(found: Any, what: str, fields: Collection[str] | None) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise Unreadable(f"{what} is {canonical(found)}; write an object")
    unknown = sorted(found.keys() - set(fields)) if fields is not None else []
    if unknown:
        raise Unreadable(f"{what} has {unknown[0]}; write {_any_of(sorted(fields or ()))}")
    return found


def _listed(asked: Mapping[str, Any], name: str) -> list[Any]:
    found = asked.get(name, [])
    if not isinstance(found, list):
        raise Unreadable(f"{name} is {canonical(found)}; write a list")
    return found


def _end(asked: Mapping[str, Any]) -> bytes | None:
    return None if asked.get("end") is None else _bytes(asked["end"], "end")


def _bytes(found: object, what: str) -> bytes:
    if not isinstance(found, str):
        raise Unreadable(f"{what} is {canonical(found)}; write a string")
    try:
        return found.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise Unreadable(f"{what} is {canonical(found)}, which is no text of UTF-8") from None


def _number(found: object, what: str) -> int:
    if isinstance(found, bool) or not isinstance(found, int):
        raise Unreadable(f"{what} is {canonical(found)}; write a whole number")
    return found


def _any_of(names: Collection[str]) -> str:
    return ", ".join(names)

"""The store's own requests and results as histories write them, for whoever records a store."""

from __future__ import annotations

from typing import Any, assert_never

from moreton.sim.linearizability.store.contents import shown_pair, text_of
from moreton.store.core.model import (
    Compare,
    Delete,
    DeleteResult,
    Op,
    OpResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    Transaction,
    TxnResult,
)


def shown_request(request: Transaction) -> dict[str, Any]:
    """*request* as the value of a `txn`'s invoke.

    Raises `ValueError` for leases and past revisions, which histories do not have.
    """
    return {
        "compare": [_compare(each) for each in request.compare],
        "then": [_op(each) for each in request.then],
        "else": [_op(each) for each in request.otherwise],
    }


def shown_result(result: TxnResult) -> dict[str, Any]:
    """*result* as the value of a `txn`'s ok."""
    return {
        "succeeded": result.succeeded,
        "revision": result.revision,
        "results": [_op_result(each) for each in result.results],
    }


def shown_range(result: RangeResult) -> dict[str, Any]:
    """*result* as the value of a `range`'s ok."""
    return {"revision": result.revision, **_op_result(result)}


def _compare(condition: Compare) -> dict[str, Any]:
    if condition.target == "lease":
        raise ValueError("a history has no leases: this comparison cannot be recorded")
    operand = condition.operand
    return {
        "key": text_of(condition.key),
        "target": condition.target,
        "operator": condition.operator,
        "operand": text_of(operand) if isinstance(operand, bytes) else operand,
        "end": _end(condition.end),
    }


def _op(op: Op) -> dict[str, Any]:
    match op:
        case Put(lease=None):
            return {"op": "put", "key": text_of(op.key), "value": text_of(op.value)}
        case Put():
            raise ValueError("a history has no leases: this put cannot be recorded")
        case Delete():
            return {"op": "delete", "key": text_of(op.key), "end": _end(op.end)}
        case Range(revision=None):
            shown = {"op": "range", "key": text_of(op.key), "end": _end(op.end)}
            return shown if op.limit is None else {**shown, "limit": op.limit}
        case Range():
            raise ValueError("a history has only the present: this range cannot be recorded")
        case _:
            assert_never(op)


def _op_result(result: OpResult) -> dict[str, Any]:
    match result:
        case PutResult(prev):
            return {"prev": None if prev is None else shown_pair(prev)}
        case DeleteResult(prev):
            return {"deleted": result.deleted, "prev": [shown_pair(kv) for kv in prev]}
        case RangeResult(_, kvs, count):
            return {"kvs": [shown_pair(kv) for kv in kvs], "count": count}
        case _:
            assert_never(result)


def _end(end: bytes | None) -> str | None:
    return None if end is None else text_of(end)

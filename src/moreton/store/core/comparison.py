"""Whether a transaction's condition holds."""

from __future__ import annotations

from typing import assert_never

from moreton.store.core.keyspace import Keyspace
from moreton.store.core.model import Compare, CompareOperator, KeyValue


def holds(condition: Compare, keyspace: Keyspace) -> bool:
    """Whether *condition* holds for every key of its range.

    Of a range without a key, as of a missing key, every number is 0 and no value compares:
    etcd's rule (`applyCompare` in its apply.go).
    """
    keys = keyspace.keys(condition.key, condition.end)
    found = [kv for kv in map(keyspace.get, keys) if kv is not None]
    if not found:
        return isinstance(condition.operand, int) and _ordered(
            0, condition.operator, condition.operand
        )
    return all(_holds_for(condition, kv) for kv in found)


def _holds_for(condition: Compare, kv: KeyValue) -> bool:
    if isinstance(condition.operand, bytes):
        # -1, 0 or 1, as comparing with 0 needs it.
        difference = (kv.value > condition.operand) - (kv.value < condition.operand)
        return _ordered(difference, condition.operator, 0)
    return _ordered(_number(condition, kv), condition.operator, condition.operand)


def _number(condition: Compare, kv: KeyValue) -> int:
    match condition.target:
        case "version":
            return kv.version
        case "create":
            return kv.create_revision
        case "mod":
            return kv.mod_revision
        case "lease":
            return kv.lease or 0
        case "value":
            raise AssertionError("a value is compared as bytes")
        case _:
            assert_never(condition.target)


def _ordered(left: int, operator: CompareOperator, right: int) -> bool:
    match operator:
        case "=":
            return left == right
        case "!=":
            return left != right
        case ">":
            return left > right
        case "<":
            return left < right
        case _:
            assert_never(operator)

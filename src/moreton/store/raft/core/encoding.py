"""The bytes of a command: the same on every node and in every version."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, assert_never

from moreton.store.core.model import (
    Compare,
    CompareOperator,
    CompareTarget,
    Delete,
    Lease,
    LeaseId,
    Op,
    Put,
    Range,
    Transaction,
)
from moreton.store.raft.core.commands import (
    Begin,
    Command,
    Compact,
    Expire,
    Grant,
    Revoke,
)
from moreton.store.raft.core.reading import Reader, pack_text

MICROSECOND = timedelta(microseconds=1)

_PUT, _DELETE, _RANGE = range(1, 4)
_TARGETS: Final[tuple[CompareTarget, ...]] = ("value", "version", "create", "mod", "lease")
_OPERATORS: Final[tuple[CompareOperator, ...]] = ("=", "!=", ">", "<")

_COUNTS = struct.Struct(">BBB")
_COMPARE = struct.Struct(">BB")
_KIND = struct.Struct(">B")
_NUMBER = struct.Struct(">q")
_RANGE_NUMBERS = struct.Struct(">QQ")
_GRANTED = struct.Struct(">QQ")
_LEASES = struct.Struct(">QI")
_U64 = struct.Struct(">Q")
# Every number of a store is below it, so that a comparison with more comes out the same.
_MOST = (1 << 63) - 1
_NO_LEASE = -_MOST - 1


def encode(command: Command) -> bytes:
    """The bytes of *command*; equal commands have equal bytes."""
    kind, pack = _PACK[type(command)]
    return b"".join((_KIND.pack(kind), *pack(command)))


def decode(data: bytes) -> Command:
    """What `encode` made *data* of. Raises `ValueError` if it did not."""
    reader = Reader(data)
    (kind,) = reader.take(_KIND)
    unpack = _UNPACK.get(kind)
    if unpack is None:
        message = f"a command of kind {kind} is not known to this version"
        raise ValueError(message)
    command = unpack(reader)
    reader.finish()
    return command


def _transaction(request: Transaction) -> list[bytes]:
    counts = _COUNTS.pack(len(request.compare), len(request.then), len(request.otherwise))
    parts = [counts, *map(_compare, request.compare)]
    parts.extend(map(_op, request.then))
    parts.extend(map(_op, request.otherwise))
    return parts


def _read_transaction(reader: Reader) -> Transaction:
    conditions, then, otherwise = reader.take(_COUNTS)
    return Transaction(
        tuple([_read_compare(reader) for _ in range(conditions)]),
        tuple([_read_op(reader) for _ in range(then)]),
        tuple([_read_op(reader) for _ in range(otherwise)]),
    )


def _compare(condition: Compare) -> bytes:
    head = _COMPARE.pack(_TARGETS.index(condition.target), _OPERATORS.index(condition.operator))
    operand = condition.operand
    right = pack_text(operand) if isinstance(operand, bytes) else _NUMBER.pack(_bounded(operand))
    return head + pack_text(condition.key) + pack_text(condition.end) + right


def _read_compare(reader: Reader) -> Compare:
    target, operator = reader.take(_COMPARE)
    if target >= len(_TARGETS) or operator >= len(_OPERATORS):
        message = f"a comparison of target {target} and operator {operator} is not known"
        raise ValueError(message)
    key, end = reader.text(), reader.optional_text()
    operand = reader.text() if _TARGETS[target] == "value" else reader.take(_NUMBER)[0]
    return Compare(key, _TARGETS[target], _OPERATORS[operator], operand, end)


def _op(op: Op) -> bytes:
    match op:
        case Put(key, value, lease):
            head = _KIND.pack(_PUT) + _NUMBER.pack(_NO_LEASE if lease is None else _bounded(lease))
            return head + pack_text(key) + pack_text(value)
        case Delete(key, end):
            return _KIND.pack(_DELETE) + pack_text(key) + pack_text(end)
        case Range(key, end, revision, limit):
            numbers = _RANGE_NUMBERS.pack(_bounded(revision or 0), _bounded(limit or 0))
            return _KIND.pack(_RANGE) + numbers + pack_text(key) + pack_text(end)
        case _:
            assert_never(op)


def _read_op(reader: Reader) -> Op:
    (kind,) = reader.take(_KIND)
    if kind == _PUT:
        (lease,) = reader.take(_NUMBER)
        key, value = reader.text(), reader.text()
        return Put(key, value, None if lease == _NO_LEASE else LeaseId(lease))
    if kind == _DELETE:
        return Delete(reader.text(), reader.optional_text())
    if kind == _RANGE:
        revision, limit = reader.take(_RANGE_NUMBERS)
        return Range(reader.text(), reader.optional_text(), revision or None, limit or None)
    message = f"an operation of kind {kind} is not known to this version"
    raise ValueError(message)


def _bounded(number: int) -> int:
    return max(-_MOST, min(number, _MOST))


def _expire(command: Expire) -> Sequence[bytes]:
    head = _LEASES.pack(command.term, len(command.leases))
    return [head, *map(_U64.pack, command.leases)]


def _read_expire(reader: Reader) -> Expire:
    term, count = reader.take(_LEASES)
    return Expire(tuple([LeaseId(*reader.take(_U64)) for _ in range(count)]), term)


def _read_grant(reader: Reader) -> Grant:
    lease, ttl = reader.take(_GRANTED)
    return Grant(Lease(LeaseId(lease), ttl * MICROSECOND))


# The numbers are in logs on disks: they never change and are never used again.
_PACK: Final[dict[type, tuple[int, Callable[[Any], Sequence[bytes]]]]] = {
    Transaction: (1, _transaction),
    Grant: (2, lambda it: [_GRANTED.pack(it.lease.id, it.lease.ttl // MICROSECOND)]),
    Revoke: (3, lambda it: [_NUMBER.pack(_bounded(it.lease))]),
    Expire: (4, _expire),
    Begin: (5, lambda it: [_U64.pack(it.term)]),
    Compact: (6, lambda it: [_NUMBER.pack(_bounded(it.revision))]),
}
_UNPACK: Final[dict[int, Callable[[Reader], Command]]] = {
    1: _read_transaction,
    2: _read_grant,
    3: lambda reader: Revoke(LeaseId(*reader.take(_NUMBER))),
    4: _read_expire,
    5: lambda reader: Begin(*reader.take(_U64)),
    6: lambda reader: Compact(*reader.take(_NUMBER)),
}

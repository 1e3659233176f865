"""The gateway's JSON: bytes in base 64, 64-bit numbers as strings, zeros left out."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, TypeAlias, assert_never

from moreton.store.core.keys import NO_END, prefix_end
from moreton.store.core.model import (
    Compare,
    CompareOperator,
    Delete,
    DeleteResult,
    KeyValue,
    LeaseId,
    Op,
    OpResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    Transaction,
    TxnResult,
    WatchEvent,
)

# What `json` reads and writes; whatever a server sent, so nothing in it is certain.
Document: TypeAlias = Mapping[str, Any]
_OPERATORS: Mapping[CompareOperator, str] = {
    "=": "EQUAL",
    "!=": "NOT_EQUAL",
    ">": "GREATER",
    "<": "LESS",
}
_TARGETS = {
    "value": ("VALUE", "value"),
    "version": ("VERSION", "version"),
    "create": ("CREATE", "create_revision"),
    "mod": ("MOD", "mod_revision"),
    "lease": ("LEASE", "lease"),
}
# A range of etcd's that holds no key, as [key, key) does.
_NOTHING = (b"\x01", b"\x01")


def is_empty(key: bytes, end: bytes | None) -> bool:
    """Whether no key can lie in the range."""
    return end is not None and end != NO_END and end <= key


def number(document: Document, name: str) -> int:
    """A number, which is left out when it is 0."""
    return int(document.get(name, 0))


def revision_of(document: Document) -> int:
    """The store's revision that an answer carries."""
    return number(document["header"], "revision")


class Messages:
    """Requests and answers of a store whose keys all begin with *prefix*, which nobody sees."""

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix

    def span(self, key: bytes, end: bytes | None) -> dict[str, str]:
        """The fields that name the range."""
        start, stop = self._bounds(key, end)
        return {"key": _text(start)} | ({} if stop is None else {"range_end": _text(stop)})

    def range(self, op: Range) -> dict[str, Any]:
        """A request for the keys of a range; in order of keys, which is etcd's own."""
        wanted: dict[str, Any] = self.span(op.key, op.end)
        if op.revision is not None:
            wanted["revision"] = str(op.revision)
        if op.limit is not None:
            wanted["limit"] = str(op.limit)
        return wanted

    def beacon(self) -> dict[str, Any]:
        """A request that reads no key, but with a leader's word: for the revision it answers."""
        return dict(self.span(b"", None))

    def put(self, op: Put) -> dict[str, Any]:
        """A request to set a key."""
        wanted = {"key": _text(self.prefix + op.key), "value": _text(op.value)}
        return wanted if op.lease is None else wanted | {"lease": str(op.lease)}

    def transaction(self, request: Transaction) -> dict[str, Any]:
        """A request to compare, then or else."""
        return {
            "compare": [self._compare(condition) for condition in request.compare],
            "success": [self._op(op) for op in request.then],
            "failure": [self._op(op) for op in request.otherwise],
        }

    def watch(self, key: bytes, end: bytes | None, start: int) -> dict[str, Any]:
        """A request for all changes from *start* on."""
        return {
            "create_request": {
                **self.span(key, end),
                "start_revision": str(start),
                "prev_kv": True,
                # An idle watch must not be overtaken by a compaction unawares.
                "progress_notify": True,
                # No line is longer than a request may be, however much there is to catch up.
                "fragment": True,
            }
        }

    def range_result(self, answer: Document, *, revision: int) -> RangeResult:
        """What a range held."""
        kvs = tuple(self.key_value(kv) for kv in answer.get("kvs", ()))
        return RangeResult(revision, kvs, number(answer, "count"))

    def txn_result(self, answer: Document, request: Transaction) -> TxnResult:
        """What a transaction did."""
        succeeded = bool(answer.get("succeeded"))
        branch = request.then if succeeded else request.otherwise
        revision = revision_of(answer)
        results = [
            self._result(op, found, revision)
            for op, found in zip(branch, answer.get("responses", ()), strict=True)
        ]
        return TxnResult(succeeded, revision, tuple(results))

    def event(self, document: Document) -> WatchEvent:
        """One change."""
        prev = self.key_value(document["prev_kv"]) if "prev_kv" in document else None
        kv = self.key_value(document["kv"])
        return WatchEvent("delete" if document.get("type") == "DELETE" else "put", kv, prev)

    def key_value(self, document: Document) -> KeyValue:
        """A key; of a deleted one, only its name and revision are there."""
        return KeyValue(
            b64decode(document["key"]).removeprefix(self.prefix),
            b64decode(document.get("value", "")),
            number(document, "create_revision"),
            number(document, "mod_revision"),
            number(document, "version"),
            LeaseId(number(document, "lease")) or None,
        )

    def _bounds(self, key: bytes, end: bytes | None) -> tuple[bytes, bytes | None]:
        if is_empty(key, end):
            return _NOTHING
        start = self.prefix + key
        if end is None:
            # etcd knows no empty key and refuses to look for it.
            return (start, None) if start else _NOTHING
        if end == NO_END:
            return start or b"\0", prefix_end(self.prefix)
        return start or b"\0", self.prefix + end

    def _compare(self, condition: Compare) -> dict[str, Any]:
        target, field = _TARGETS[condition.target]
        operand = condition.operand
        return {
            **self.span(condition.key, condition.end),
            "target": target,
            "result": _OPERATORS[condition.operator],
            field: _text(operand) if isinstance(operand, bytes) else str(operand),
        }

    def _op(self, op: Op) -> dict[str, Any]:
        match op:
            case Put():
                return {"request_put": {**self.put(op), "prev_kv": True}}
            case Delete():
                return {"request_delete_range": {**self.span(op.key, op.end), "prev_kv": True}}
            case Range():
                return {"request_range": self.range(op)}
            case _:
                assert_never(op)

    def _result(self, op: Op, found: Document, revision: int) -> OpResult:
        match op:
            case Put():
                prev = found["response_put"].get("prev_kv")
                return PutResult(None if prev is None else self.key_value(prev))
            case Delete():
                gone = found["response_delete_range"].get("prev_kvs", ())
                return DeleteResult(tuple(self.key_value(kv) for kv in gone))
            case Range():
                return self.range_result(found["response_range"], revision=revision)
            case _:
                assert_never(op)


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")

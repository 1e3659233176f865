"""The store's values: what lies under a key, what is asked, what is answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NewType, TypeAlias

from moreton.store.core.errors import DuplicateKey, RequestTooLarge
from moreton.store.core.keys import covers

LeaseId = NewType("LeaseId", int)

# etcd's defaults (--max-txn-ops, --max-request-bytes, MaxLeaseTTL): what fits here fits there.
TXN_OPS_MAX = 128
REQUEST_BYTES_MAX = 1536 * 1024

LEASE_TTL_MAX = timedelta(seconds=9_000_000_000)

CompareTarget: TypeAlias = Literal["value", "version", "create", "mod", "lease"]
CompareOperator: TypeAlias = Literal["=", "!=", ">", "<"]


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as of one revision.

    *version* counts the puts since the key was created, from 1; a delete starts over.
    """

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: LeaseId | None = None


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition on a key, or on every key of `[key, end)`, for a transaction.

    A key that does not exist has version, create and mod revision and lease 0; a comparison of
    its value never holds. Build one by `Compare.version(key, "=", 0)` and the like.
    """

    key: bytes
    target: CompareTarget
    operator: CompareOperator
    operand: bytes | int
    end: bytes | None = None

    def __post_init__(self) -> None:
        if isinstance(self.operand, bytes) != (self.target == "value"):
            message = f"a {self.target} cannot be compared with {self.operand!r}"
            raise TypeError(message)

    @classmethod
    def value(cls, key: bytes, operator: CompareOperator, operand: bytes) -> Compare:
        """Compare the value; never holds for a key that does not exist."""
        return cls(key, "value", operator, operand)

    @classmethod
    def version(cls, key: bytes, operator: CompareOperator, operand: int) -> Compare:
        """Compare the number of puts since the key was created; `"=", 0`: it does not exist."""
        return cls(key, "version", operator, operand)

    @classmethod
    def create(cls, key: bytes, operator: CompareOperator, operand: int) -> Compare:
        """Compare the revision in which the key was created."""
        return cls(key, "create", operator, operand)

    @classmethod
    def mod(cls, key: bytes, operator: CompareOperator, operand: int) -> Compare:
        """Compare the revision of the last put."""
        return cls(key, "mod", operator, operand)

    @classmethod
    def lease(cls, key: bytes, operator: CompareOperator, operand: LeaseId) -> Compare:
        """Compare the lease that the key hangs on."""
        return cls(key, "lease", operator, operand)


@dataclass(frozen=True, slots=True)
class Put:
    """Set a key. Without a *lease* it hangs on none, whatever it hung on before."""

    key: bytes
    value: bytes
    lease: LeaseId | None = None

    def __post_init__(self) -> None:
        _check_bytes(self.key, self.value)
        if not self.key:
            raise ValueError("a key must not be empty")


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one key, or every key of `[key, end)`."""

    key: bytes
    end: bytes | None = None

    def __post_init__(self) -> None:
        _check_bytes(self.key, self.end)


@dataclass(frozen=True, slots=True)
class Range:
    """Read one key, or `[key, end)`, in order of keys, now or as of *revision*."""

    key: bytes
    end: bytes | None = None
    revision: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        _check_bytes(self.key, self.end)
        if self.revision is not None and self.revision < 1:
            message = f"revision {self.revision} is below 1, the revision of an empty store"
            raise ValueError(message)
        if self.limit is not None and self.limit < 1:
            message = f"limit {self.limit} is below 1; leave it out to read everything"
            raise ValueError(message)


Op: TypeAlias = Put | Delete | Range


@dataclass(frozen=True, slots=True)
class RangeResult:
    """The keys in order; *count* counts the whole range, *more* tells that the limit cut it.

    *revision* is the store's when the range was read: watch from the one after it.
    """

    revision: int
    kvs: tuple[KeyValue, ...]
    count: int

    @property
    def more(self) -> bool:
        """Whether the limit left keys out."""
        return self.count > len(self.kvs)


@dataclass(frozen=True, slots=True)
class PutResult:
    """What lay under the key before."""

    prev: KeyValue | None


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """What was deleted, in order of keys."""

    prev: tuple[KeyValue, ...]

    @property
    def deleted(self) -> int:
        """How many keys were deleted."""
        return len(self.prev)


OpResult: TypeAlias = PutResult | DeleteResult | RangeResult


@dataclass(frozen=True, slots=True)
class TxnResult:
    """Which branch ran and one result per operation of it.

    *revision* is the store's after it: a new one only if the branch changed something.
    """

    succeeded: bool
    revision: int
    results: tuple[OpResult, ...]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change of a key.

    Of a delete, *kv* has only the key and the revision. *prev* is what lay there before, `None`
    if nothing did or if it was compacted.
    """

    kind: Literal["put", "delete"]
    kv: KeyValue
    prev: KeyValue | None


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """All changes of one revision that a watch covers: never split, in the order made."""

    revision: int
    events: tuple[WatchEvent, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease and the time it lives after each renewal."""

    id: LeaseId
    ttl: timedelta

    def __post_init__(self) -> None:
        if not 0 < self.id < 1 << 63:
            message = f"lease id {self.id} is not within 1 to 2**63 - 1"
            raise ValueError(message)
        if not timedelta(0) < self.ttl <= LEASE_TTL_MAX:
            message = f"a lease cannot live {self.ttl}; give it more than 0 and up to 285 years"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Transaction:
    """Compare, then or else: checked when built, so that applying it cannot half fail."""

    compare: tuple[Compare, ...] = ()
    then: tuple[Op, ...] = ()
    otherwise: tuple[Op, ...] = ()

    def __post_init__(self) -> None:
        longest = max(len(self.compare), len(self.then), len(self.otherwise))
        if longest > TXN_OPS_MAX:
            raise RequestTooLarge(found=longest, limit=TXN_OPS_MAX, unit="operations")
        total = sum(map(_op_bytes, self.then)) + sum(map(_op_bytes, self.otherwise))
        if total > REQUEST_BYTES_MAX:
            raise RequestTooLarge(found=total, limit=REQUEST_BYTES_MAX, unit="bytes")
        _check_duplicates(self.then)
        _check_duplicates(self.otherwise)


def _check_bytes(*values: object) -> None:
    for value in values:
        if value is not None and not isinstance(value, bytes):
            message = f"keys and values are bytes, not {value!r}"
            raise TypeError(message)


def _op_bytes(op: Op) -> int:
    return len(op.key) + (len(op.value) if isinstance(op, Put) else 0)


def _check_duplicates(branch: tuple[Op, ...]) -> None:
    if len(branch) < 2:
        return
    deletes = [op for op in branch if isinstance(op, Delete)]
    seen: set[bytes] = set()
    for op in branch:
        if not isinstance(op, Put):
            continue
        if op.key in seen or any(covers(op.key, gone.key, gone.end) for gone in deletes):
            raise DuplicateKey(key=op.key)
        seen.add(op.key)

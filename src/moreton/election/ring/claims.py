"""What makes a ring's result effective: a compare-and-set in the store, and its fencing token."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Protocol

from moreton.election.ring.core.errors import ClaimContested, FencedOff
from moreton.election.ring.core.frames import Decision, may_take
from moreton.election.ring.core.ring import Uid
from moreton.election.ring.wire import from_uid, to_uid
from moreton.store import Compare, KeyValue, Put, Store, TxnResult
from moreton.store.core.model import Op

_ATTEMPTS_MAX = 8
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Claims(Protocol):
    """Where a winner claims its epoch."""

    async def claim(self, uid: Uid, epoch: int) -> Decision:
        """Who leads now: *uid* itself if the claim went through, else who had claimed before."""
        ...


class AdvisoryClaims:
    """Grants every claim, without a token: nothing keeps the two halves of a divided ring apart."""

    async def claim(self, uid: Uid, epoch: int) -> Decision:
        """As `Claims.claim`; always *uid*."""
        return Decision(epoch, uid)


class StoreClaims:
    """The leader of the ring *name* in *store*, under `/moreton/ring/<name>/leader`.

    An epoch is granted once, and only above the one before. The token is the revision of that
    write: it only grows. Raises `ValueError` for a name that is not like a host's.
    """

    def __init__(self, store: Store, name: str) -> None:
        if _NAME.fullmatch(name) is None:
            message = f"{name!r} does not name a ring; use up to 63 of a-z, 0-9 and -"
            raise ValueError(message)
        self.name = name
        self.key = f"/moreton/ring/{name}/leader".encode()
        self._store = store

    async def holder(self) -> Decision | None:
        """Who leads, as the store has it."""
        found = await self._read()
        return None if found is None else _decode(found)

    async def claim(self, uid: Uid, epoch: int) -> Decision:
        """As `Claims.claim`. Raises `ClaimContested`, and the store's errors."""
        value = json.dumps({"epoch": epoch, "leader": from_uid(uid)}).encode()
        for _ in range(_ATTEMPTS_MAX):
            found = await self._read()
            held = None if found is None else _decode(found)
            if held is not None and not may_take(held, epoch):
                return held
            before = 0 if found is None else found.mod_revision
            unchanged = [Compare.mod(self.key, "=", before)]
            written = await self._store.txn(unchanged, [Put(self.key, value)])
            if written.succeeded:
                return Decision(epoch, uid, written.revision)
        raise ClaimContested(ring=self.name, attempts=_ATTEMPTS_MAX)

    async def write(self, token: int, operations: Sequence[Op]) -> TxnResult:
        """Do *operations* in one transaction as the leader that holds *token*.

        Raises `FencedOff` when the token is not the newest; then nothing was written. For what
        is not in this store, pass the token along and let the other side refuse smaller ones.
        """
        done = await self._store.txn([Compare.mod(self.key, "=", token)], operations)
        if not done.succeeded:
            found = await self._read()
            current = None if found is None else found.mod_revision
            raise FencedOff(ring=self.name, token=token, current=current)
        return done

    async def _read(self) -> KeyValue | None:
        found = await self._store.range(self.key)
        return found.kvs[0] if found.kvs else None


def _decode(found: KeyValue) -> Decision | None:
    """`None` for a value that no member wrote: it may be replaced, by compare-and-set."""
    try:
        document = json.loads(found.value)
        epoch, leader = int(document["epoch"]), to_uid(document["leader"])
    except (ValueError, TypeError, KeyError):
        return None
    return Decision(epoch, leader, found.mod_revision)

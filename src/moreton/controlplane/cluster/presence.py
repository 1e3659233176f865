"""This node's word in the store: that it is there, and what it has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import timedelta

from moreton.controlplane.cluster.errors import NodeNameTaken, StoreSilent
from moreton.controlplane.core.nodes import (
    Node,
    about_key,
    decode_node,
    encode_node,
    encode_objects,
    objects_key,
)
from moreton.controlplane.following import CUT_OFF, Noting, keep_following, may_pass
from moreton.kernel.time import Clock, Instant
from moreton.store import Compare, LeaseId, Put, Range, RangeResult, Store
from moreton.store.errors import LeaseNotFound, StoreError

# A node that died is known to be gone after this; etcd's least is its election timeout and more.
NODE_TTL = timedelta(seconds=6)
_RENEW_EVERY = NODE_TTL / 3
# One renewal that takes so long means that the store cannot be reached.
_ANSWER_SECONDS_MAX = 4.0
# Words follow each other no faster: each is a write.
_REST_SECONDS = 0.02
_TRY_AGAIN_SECONDS = 0.5
_NAME = "name of this node"


class Presence:
    """Keeps what *about* says of this node in *store*, for as long as this process lives.

    *objects* is what the node's moreton.yaml defines, by its hashes.
    """

    def __init__(
        self,
        store: Store,
        *,
        about: Callable[[], Node],
        objects: Callable[[], Mapping[str, str]],
        clock: Clock,
        troubles: Noting,
    ) -> None:
        self._store = store
        self._about = about
        self._objects = objects
        self._clock = clock
        self._troubles = troubles
        self._lease: LeaseId | None = None
        self._renew_at: Instant | None = None
        self._told: Node | None = None
        self._told_objects: Mapping[str, str] | None = None
        self._news = asyncio.Event()

    def touch(self) -> None:
        """What there is to tell may have changed."""
        self._news.set()

    async def enter(self) -> None:
        """Be there; a name that a node which died left behind is free after its time to live.

        Raises `NodeNameTaken` if another node lives under it, and the store's errors.
        """
        until = self._clock.now() + NODE_TTL * 2
        while True:
            is_late = self._clock.now() >= until
            try:
                holder = await self._try_enter()
            except StoreError as error:
                if is_late or not may_pass(error):
                    raise
            else:
                if holder is None:
                    return
                if is_late:
                    raise NodeNameTaken(name=holder.name, holder=_shown(holder))
            await asyncio.sleep(_TRY_AGAIN_SECONDS)

    async def run(self) -> None:
        """Renew, and tell what is new; until cancelled, then nothing is left behind."""
        try:
            await keep_following(self._stay, what=CUT_OFF, troubles=self._troubles)
        finally:
            await asyncio.shield(self._leave())

    async def _stay(self, is_fine: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                await self._speak()
        except TimeoutError as error:
            raise StoreSilent(seconds=_ANSWER_SECONDS_MAX) from error
        is_fine()
        await asyncio.sleep(_REST_SECONDS)
        assert self._renew_at is not None
        left = (self._renew_at - self._clock.now()).total_seconds()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(left, 0)):
                await self._news.wait()

    async def _speak(self) -> None:
        """Renew when it is time to, tell what changed, and enter again when the lease ended."""
        try:
            if self._lease is None:
                await self._enter_again()
                return
            if self._renew_at is None or self._clock.now() >= self._renew_at:
                await self._store.keep_alive(self._lease)
                self._renew_at = self._clock.now() + _RENEW_EVERY
            self._news.clear()
            await self._tell(self._lease)
        except LeaseNotFound:
            self._lease = None

    async def _enter_again(self) -> None:
        holder = await self._try_enter()
        self._renew_at = self._clock.now() + _RENEW_EVERY
        if holder is None:
            self._troubles.end(_NAME)
        else:
            self._troubles.begin(_NAME, str(NodeNameTaken(name=holder.name, holder=_shown(holder))))

    async def _try_enter(self) -> Node | None:
        """The other node that has the name, if one does."""
        about, objects = self._about(), self._objects()
        key = about_key(about.name)
        lease = await self._store.grant(NODE_TTL)
        puts = [
            Put(key, encode_node(about), lease),
            Put(objects_key(about.name), encode_objects(objects), lease),
        ]
        done = await self._store.txn([Compare.version(key, "=", 0)], puts, [Range(key)])
        if not done.succeeded:
            result = done.results[0]
            assert isinstance(result, RangeResult)
            held = result.kvs[0]
            found = decode_node(held.value)
            if found is not None and (found.home, found.host) != (about.home, about.host):
                await self._store.revoke(lease)
                return found
            # Ours, of before: this state folder is held by one process at a time.
            same = [Compare.mod(key, "=", held.mod_revision)]
            if not (await self._store.txn(same, puts)).succeeded:
                await self._store.revoke(lease)
                return found
        self._lease = lease
        self._renew_at = self._clock.now() + _RENEW_EVERY
        self._told, self._told_objects = about, objects
        return None

    async def _tell(self, lease: LeaseId) -> None:
        about, objects = self._about(), self._objects()
        puts = []
        if objects is not self._told_objects:
            puts.append(Put(objects_key(about.name), encode_objects(objects), lease))
        if about != self._told:
            puts.append(Put(about_key(about.name), encode_node(about), lease))
        if puts:
            # With a lease that ended nothing is written: another may have the name by now.
            await self._store.txn(then=puts)
            self._told, self._told_objects = about, objects

    async def _leave(self) -> None:
        if self._lease is None:
            return
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX / 2):
                await self._store.revoke(self._lease)
        except (StoreError, TimeoutError):
            return  # its lease ends it


def _shown(node: Node) -> str:
    return f"process {node.pid} on {node.host}" + (f" with its API at {node.api}" * bool(node.api))

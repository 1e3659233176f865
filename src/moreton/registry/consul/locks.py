"""`/v1/session`, and what becomes of keys whose session has ended."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence

from moreton.kernel.rng import Rng
from moreton.registry.consul.core.durations import to_timedelta
from moreton.registry.consul.core.keys import entries, sessions
from moreton.registry.consul.core.keys.entries import Entry
from moreton.registry.consul.core.keys.sessions import Session
from moreton.registry.consul.core.refusals import ConsulRequestRefused, bad, not_found
from moreton.registry.consul.following.catalog import Catalog
from moreton.registry.consul.following.state import (
    SESSIONS,
    ConsulState,
    delay_key,
    entry_key,
    session_key,
)
from moreton.registry.consul.following.topics import Topic
from moreton.registry.consul.messages import Answer, Request, encode_json, json_answer
from moreton.registry.consul.web.reading import Look, Reading
from moreton.store import Compare, Delete, LeaseId, Put, Store, prefix_end
from moreton.store.core.model import Op
from moreton.store.errors import LeaseNotFound

# Keys let go of in one transaction: each takes a condition and up to two operations.
_KEYS_AT_ONCE = 32
_ROUNDS_MAX = 4096
_PAUSE_SECONDS = 1.0
_UUID_BITS = 128


class Locks:
    """The endpoints of sessions, and the duty to end what they hold.

    Every node does the duty: of several that do it at once the store lets one have its way.
    """

    def __init__(
        self, store: Store, state: ConsulState, catalog: Catalog, reading: Reading, *, rng: Rng
    ) -> None:
        self._store = store
        self._state = state
        self._catalog = catalog
        self._reading = reading
        self._rng = rng
        self._some_ended = asyncio.Event()
        state.on_session_end = self._some_ended.set
        catalog.on_change = self._note_change

    def _note_change(self) -> None:
        if self._state.bound_sessions():
            self._some_ended.set()

    async def create(self, request: Request) -> Answer:
        """Begin a session."""
        body = await request.json()
        own_id = str(uuid.UUID(int=self._rng.getrandbits(_UUID_BITS), version=4))
        session = sessions.read_session(body, session_id=own_id, node=self._catalog.node.name)
        for check in session.service_checks:
            self._refuse_failing(check)
        ttl = session.lease_ttl
        lease = None if ttl is None else await self._store.grant(ttl)
        await self._store.put(session_key(session.id), sessions.encode(session), lease=lease)
        return json_answer({"ID": session.id})

    async def renew(self, request: Request) -> Answer:
        """Put off the end of a session; 404 once it has ended."""
        key = session_key(_named(request))
        found = (await self._store.range(key)).kvs
        gone = not_found(f"Session id '{request.rest[:80]}' not found")
        session = sessions.decode(request.rest, found[0]) if found else None
        if session is None:
            raise gone
        if found[0].lease is not None:
            try:
                await self._store.keep_alive(found[0].lease)
            except LeaseNotFound as error:
                raise gone from error
        return json_answer([sessions.to_document(session)])

    async def destroy(self, request: Request) -> Answer:
        """End a session, and what it holds; harmless when there is none."""
        session_id = _named(request)
        revision = await self._end(session_id)
        await self._state.mirror.wait_revision(revision)
        await self._let_go(session_id)
        return Answer(b"true")

    async def info(self, request: Request) -> Answer:
        """One session, as a list of at most one."""
        session_id = _named(request)

        def take() -> Answer:
            found = self._state.session(session_id)
            return _shown([] if found is None else [found])

        keys = (session_key(session_id), None)
        return await self._look(request, Topic("session", session_id), take, keys)

    async def list(self, request: Request) -> Answer:
        """Every session."""
        return await self._list(request, lambda _: True)

    async def of_node(self, request: Request) -> Answer:
        """The sessions of a node."""
        if not request.rest:
            raise bad("Missing node name")
        return await self._list(request, lambda session: session.node == request.rest)

    async def run(self) -> None:
        """Let go of what ended sessions hold, and end those whose checks fail; until cancelled."""
        while True:
            self._some_ended.clear()
            try:
                await self._tidy()
            except TimeoutError:
                # The watch does not keep up with the store: what it will tell is waited for.
                self._some_ended.set()
                await asyncio.sleep(_PAUSE_SECONDS)
            await self._some_ended.wait()

    async def _tidy(self) -> None:
        for session in self._state.bound_sessions():
            statuses = {self._status(check) for check in session.service_checks}
            if statuses & {None, "critical"}:
                await self._end(session.id)
        for holder in self._state.holders():
            if not self._state.lives(holder):
                await self._let_go(holder)

    async def _list(self, request: Request, matches: Callable[[Session], bool]) -> Answer:
        def take() -> Answer:
            return _shown([each for each in self._state.sessions() if matches(each)])

        keys = (SESSIONS, prefix_end(SESSIONS))
        return await self._look(request, Topic("sessions"), take, keys)

    async def _look(
        self,
        request: Request,
        topic: Topic,
        take: Callable[[], Answer],
        keys: tuple[bytes, bytes | None],
    ) -> Answer:
        look = Look(self._state, topic, take, keys, always=True)
        return await self._reading.answer(request, look)

    async def _end(self, session_id: str) -> int:
        """The revision that ended it; 0 if there is none."""
        key = session_key(session_id)
        found = (await self._store.range(key)).kvs
        if not found:
            return 0
        there = [Compare.version(key, ">", 0)]
        done = await self._store.txn(there, [Delete(key)])
        if found[0].lease is not None:
            await self._revoke(found[0].lease)
        return done.revision if done.succeeded else 0

    async def _let_go(self, session_id: str) -> None:
        for _ in range(_ROUNDS_MAX):
            keys = sorted(self._state.held_by(session_id))[:_KEYS_AT_ONCE]
            if not keys:
                return
            found = (self._state.entry(key) for key in keys)
            await self._release([each for each in found if each is not None])
            for key in keys:
                await self._state.mirror.settle(entry_key(key))

    async def _release(self, held: Sequence[Entry]) -> None:
        """One transaction: when it fails, the next round finds what others changed meanwhile."""
        delay = max((each.on_end.delay for each in held), default=0)
        lease = await self._store.grant(to_timedelta(delay)) if delay else None
        compare = [Compare.mod(entry_key(each.key), "=", each.modify_index) for each in held]
        operations: list[Op] = []
        for each in held:
            left = entries.released(each)
            key = entry_key(each.key)
            operations.append(Delete(key) if left is None else Put(key, entries.encode(left)))
            if lease is not None:
                operations.append(Put(delay_key(each.key), b"", lease))
        done = await self._store.txn(compare, operations)
        if not done.succeeded and lease is not None:
            await self._revoke(lease)

    async def _revoke(self, lease: LeaseId) -> None:
        try:
            await self._store.revoke(lease)
        except LeaseNotFound:
            return  # it ended by itself

    def _refuse_failing(self, check_id: str) -> None:
        status = self._status(check_id)
        if status is None:
            raise ConsulRequestRefused(500, f"Missing check '{check_id[:80]}' registration")
        if status == "critical":
            raise ConsulRequestRefused(500, f"Check '{check_id[:80]}' is in critical state")

    def _status(self, check_id: str) -> str | None:
        rows = self._catalog.find_check(check_id)
        # An instance without checks of its own has one that tells its state.
        rows = rows or self._catalog.find(check_id.removeprefix("service:"))
        for check in self._catalog.checks(rows):
            if check["CheckID"] == check_id:
                return str(check["Status"])
        return None


def _named(request: Request) -> str:
    if not request.rest:
        raise bad("Missing session")
    return request.rest


def _shown(found: Sequence[Session]) -> Answer:
    return Answer(encode_json([sessions.to_document(each) for each in found]))

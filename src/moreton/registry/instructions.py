"""Instructions in a store: given, seen at once by whom they are for, and reported on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from moreton.kernel.time import Clock, SystemClock
from moreton.registry.core.documents import instance_key
from moreton.registry.core.errors import (
    InstanceNotRegistered,
    InstructionSuperseded,
    RegistryBusy,
)
from moreton.registry.core.instance import InstanceId
from moreton.registry.core.instructions import (
    DETAIL_CHARS_MAX,
    PREFIX,
    Action,
    Instruction,
    Phase,
    decode,
    encode,
    instruction_key,
    parse_key,
    service_prefix,
)
from moreton.store import Compare, Delete, KeyValue, Put, Store, prefix_end
from moreton.store.errors import Compacted

_ATTEMPTS_MAX = 8
# As events: what became of it may be looked at for a day.
KEPT = timedelta(days=1)
_FORGOTTEN_AT_ONCE_MAX = 100


class Instructions:
    """The instructions in *store*; `follow` must be running for `get` and `wait`."""

    def __init__(self, store: Store, *, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._known: dict[tuple[str, InstanceId], Instruction] = {}
        self._revisions: dict[tuple[str, InstanceId], int] = {}  # of what is known
        self._waiting: dict[tuple[str, InstanceId], set[asyncio.Event]] = {}
        self._is_closed = False
        self._listeners: list[Callable[[str, InstanceId, Instruction], None]] = []

    def on_news(self, tell: Callable[[str, InstanceId, Instruction], None]) -> None:
        """*tell* is called with each instruction, whenever it was given or has got further."""
        self._listeners.append(tell)

    async def give(
        self, service: str, instance_id: str, action: Action, *, token: str, by: str, anew: bool
    ) -> Instruction:
        """Tell whoever runs the instance; the same *token* again is the same instruction.

        *anew*: an attempt that failed is followed by another one.
        """
        key = instruction_key(service, instance_id)
        for _ in range(_ATTEMPTS_MAX):
            found = await self._store.range(key)
            held = decode(found.kvs[0].value) if found.kvs else None
            is_same = held is not None and held.token == token
            attempt = 1
            if held is not None and is_same:
                if not (anew and held.phase is Phase.FAILED):
                    return held
                attempt = held.attempt + 1
            now = self._clock.wall()
            wanted = Instruction(action, token, now, now, attempt, by)
            at = found.kvs[0].mod_revision if found.kvs else 0
            unchanged = Compare.mod(key, "=", at)
            if (await self._store.txn([unchanged], [Put(key, encode(wanted))])).succeeded:
                return wanted
        raise RegistryBusy(service=service, instance_id=instance_id, attempts=_ATTEMPTS_MAX)

    async def report(
        self, service: str, instance_id: str, name: str, phase: Phase, detail: str = ""
    ) -> Instruction:
        """The attempt *name* has got to *phase*. Raises `InstructionSuperseded` for any other."""
        key = instruction_key(service, instance_id)
        for _ in range(_ATTEMPTS_MAX):
            found = await self._store.range(key)
            held = decode(found.kvs[0].value) if found.kvs else None
            if held is None or held.name != name:
                raise InstructionSuperseded(service=service, instance_id=instance_id, name=name)
            told = replace(
                held, phase=phase, detail=detail[:DETAIL_CHARS_MAX], since=self._clock.wall()
            )
            unchanged = Compare.mod(key, "=", found.kvs[0].mod_revision)
            if (await self._store.txn([unchanged], [Put(key, encode(told))])).succeeded:
                return told
        raise RegistryBusy(service=service, instance_id=instance_id, attempts=_ATTEMPTS_MAX)

    async def of(self, service: str) -> Mapping[InstanceId, Instruction]:
        """The instructions for the instances of *service*, as the store has them now."""
        start = service_prefix(service)
        found = await self._store.range(start, prefix_end(start))
        known = ((parse_key(kv.key)[1], decode(kv.value)) for kv in found.kvs)
        return {instance_id: each for instance_id, each in known if each is not None}

    async def forget_old(self) -> None:
        """Forget what is over for longer than a day, or was never begun with."""
        before = self._clock.wall() - KEPT
        old = [who for who, each in self._known.items() if each.since < before]
        for start in range(0, len(old), _FORGOTTEN_AT_ONCE_MAX):
            part = old[start : start + _FORGOTTEN_AT_ONCE_MAX]
            await self._store.txn(then=[Delete(instruction_key(*who)) for who in part])

    def get(self, service: str, instance_id: str) -> Instruction | None:
        """The instruction that is known for an instance."""
        return self._known.get((service, InstanceId(instance_id)))

    async def wait(
        self,
        service: str,
        instance_id: str,
        *,
        after: str,
        seconds: float,
        since: int | None = None,
    ) -> Instruction | None:
        """An instruction that nobody has begun with, other than *after*; `None` after *seconds*.

        What an earlier instance of that id was told and did not hear is not for this one; *since*
        is the revision of its first registration, when it may have lost that and come back. Raises
        `InstanceNotRegistered`.
        """
        registered = (await self._store.range(instance_key(service, instance_id))).kvs
        if not registered:
            raise InstanceNotRegistered(service=service, instance_id=instance_id)
        # Of a store that was made anew since, no revision is known: what is there now counts.
        begun = min(registered[0].create_revision, since or registered[0].create_revision)
        who = (service, InstanceId(instance_id))
        news = asyncio.Event()
        self._waiting.setdefault(who, set()).add(news)
        try:
            async with asyncio.timeout(seconds):
                while not self._is_closed:
                    found = self._known.get(who)
                    is_new = self._revisions.get(who, 0) > begun
                    asked = found is not None and found.phase is Phase.ASKED and is_new
                    if asked and found is not None and found.name != after:
                        return found
                    news.clear()
                    await news.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting[who].discard(news)
            if not self._waiting[who]:
                del self._waiting[who]
        return None

    def close(self) -> None:
        """Whoever waits is told at once that there is nothing."""
        self._is_closed = True
        for each in list(self._waiting.values()):
            for news in each:
                news.set()

    async def follow(self, is_fine: Callable[[], None]) -> None:
        """Keep up with the store; until cancelled."""
        found = await self._store.range(PREFIX, prefix_end(PREFIX))
        self._known.clear()
        for kv in found.kvs:
            self._take(kv, kv.value)
        watch = self._store.watch(PREFIX, prefix_end(PREFIX), from_revision=found.revision + 1)
        try:
            async with watch as batches:
                is_fine()
                async for batch in batches:
                    for event in batch.events:
                        self._take(event.kv, event.kv.value if event.kind == "put" else None)
        except Compacted:
            return

    def _take(self, kv: KeyValue, value: bytes | None) -> None:
        who = parse_key(kv.key)
        instruction = None if value is None else decode(value)
        if instruction is None:
            self._known.pop(who, None)
            self._revisions.pop(who, None)
            return
        self._known[who] = instruction
        self._revisions[who] = kv.mod_revision
        for news in self._waiting.get(who, ()):
            news.set()
        for tell in self._listeners:
            tell(*who, instruction)

"""What operators order about clients: bans that end by themselves, and keys that begin anew."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from moreton.controlplane.errors import ObjectNotValid, UnknownObject
from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.ratelimit.config.words import ban_of
from moreton.ratelimit.core.rules.bans import in_force
from moreton.ratelimit.core.rules.values import Ban
from moreton.ratelimit.rulebook.documents import Reset, ban_document, ban_from
from moreton.store import Put, Store, prefix_end
from moreton.store.core.model import LEASE_TTL_MAX
from moreton.store.errors import Compacted

PREFIX = b"/moreton/limits/"
_BANS, _RESETS = PREFIX + b"bans/", PREFIX + b"resets/"
BANS_MAX = 10_000
# Services ask every two seconds; one that was away for longer begins anew itself.
_RESET_KEPT = timedelta(minutes=10)
# Beyond its end a ban lies in the store for as long as clocks may differ.
_SPARE = timedelta(minutes=5)
_LOG = logging.getLogger("moreton.controlplane")


class LimitOrders:
    """The orders in *store*; `follow` must be running for `bans` and `resets`."""

    def __init__(self, store: Store, *, now: Callable[[], datetime] | None = None) -> None:
        self._store = store
        self._now = now or (lambda: datetime.now(UTC))
        self._rng = system_rng()
        self._bans: dict[bytes, Ban] = {}
        self._resets: dict[bytes, Reset] = {}
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, tell: Callable[[], None]) -> None:
        """*tell* is called whenever bans changed, also by another node."""
        self._listeners.append(tell)

    @property
    def bans(self) -> list[Ban]:
        """The bans that hold, in the order of whom they are for."""
        now = self._now()
        return [ban for _, ban in sorted(self._bans.items()) if in_force(ban, now)]

    def next_end(self, more: Iterable[Ban] = ()) -> datetime | None:
        """When a ban ends next, of these or of *more*; `None` when none does."""
        now = self._now()
        ends = [ban.until for ban in (*self._bans.values(), *more) if ban.until is not None]
        return min((end for end in ends if end > now), default=None)

    @property
    def resets(self) -> list[Reset]:
        """The resets of the last minutes, in the order in which they were given."""
        return [reset for _, reset in sorted(self._resets.items())]

    async def ban(self, who: str, until: datetime | None, reason: str) -> Ban:
        """Nobody of *who* passes from now on; a second ban replaces the first.

        Raises `ObjectNotValid`.
        """
        try:
            ban = ban_of(who, until, reason)
        except ValueError as error:
            raise ObjectNotValid(f"who: {error}") from error
        now = self._now()
        if until is not None and until <= now:
            raise ObjectNotValid(f"until: {until.isoformat()} is over: nobody would be banned")
        key = _BANS + ban.who.encode()
        if key not in self._bans and len(self._bans) >= BANS_MAX:
            raise ObjectNotValid(
                f"{BANS_MAX} bans are in force, as many as are kept; ban a network, or a country"
            )
        # One that outlives every lease goes with its own end alone.
        kept = LEASE_TTL_MAX if until is None else until - now + _SPARE
        lease = await self._store.grant(kept) if kept < LEASE_TTL_MAX else None
        await self._store.put(key, json.dumps(ban_document(ban, "api")).encode(), lease=lease)
        return ban

    async def unban(self, who: str) -> Ban:
        """*who* passes again. Raises `ObjectNotValid`, `UnknownObject`."""
        try:
            ban = ban_of(who)
        except ValueError as error:
            raise ObjectNotValid(f"who: {error}") from error
        if not await self._store.delete(_BANS + ban.who.encode()):
            raise UnknownObject(what=f"a ban of {ban.who}", listing="moreton limits bans")
        return ban

    async def reset(self, rule: str, key: str) -> Reset:
        """*key* begins anew with *rule*, wherever it is counted."""
        reset = Reset(new_id(self._now(), self._rng), rule, key)
        lease = await self._store.grant(_RESET_KEPT)
        body = json.dumps({"rule": rule, "key": key}).encode()
        await self._store.txn(then=[Put(_RESETS + reset.id.encode(), body, lease)])
        return reset

    async def load(self) -> int:
        """Take everything there is; the store's revision of it."""
        found = await self._store.range(PREFIX, prefix_end(PREFIX))
        self._bans.clear()
        self._resets.clear()
        for kv in found.kvs:
            self._take(kv.key, kv.value)
        self._tell()
        return found.revision

    async def follow(self, is_fine: Callable[[], None]) -> None:
        """Keep up with the store; until cancelled."""
        start = await self.load() + 1
        watch = self._store.watch(PREFIX, prefix_end(PREFIX), from_revision=start)
        try:
            async with watch as batches:
                is_fine()
                async for batch in batches:
                    for event in batch.events:
                        self._take(event.kv.key, event.kv.value if event.kind == "put" else None)
                    self._tell()
        except Compacted:
            return

    def _take(self, key: bytes, value: bytes | None) -> None:
        self._bans.pop(key, None)
        self._resets.pop(key, None)
        if value is None:
            return
        try:
            document = json.loads(value)
            if key.startswith(_BANS):
                self._bans[key] = ban_from(document)
            elif key.startswith(_RESETS):
                name = key.removeprefix(_RESETS).decode()
                self._resets[key] = Reset(name, document["rule"], document["key"])
        except (ValueError, KeyError, TypeError) as error:
            # A later version may have written it; it must not keep the others from being served.
            _LOG.warning("%s in the store cannot be read: %s", key.decode(errors="replace"), error)

    def _tell(self) -> None:
        for tell in self._listeners:
            tell()

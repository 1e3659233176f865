"""What is to be done once for all nodes: the leader does it, and a deposed one cannot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeAlias

from moreton.controlplane.following import BACKOFF, Noting, keep_following
from moreton.election import Election, FencedOff, Holder, Term
from moreton.kernel.rng import system_rng
from moreton.store import Put, Store
from moreton.store.errors import Compacted, StoreClosed, StoreError

_LOG = logging.getLogger("moreton.controlplane")
ELECTION = "controlplane"
# How long at most the single duties rest when the leader dies; traffic does not wait for them.
LEADER_TTL = timedelta(seconds=5)
# What can be watched for after an outage of a node; Kubernetes compacts its etcd every 5 minutes.
HISTORY_KEPT = timedelta(minutes=10)
_COMPACTED = b"/moreton/cluster/compacted"

# Runs until it is cancelled, with the leadership: what it writes goes through the term's fence.
Duty: TypeAlias = Callable[[Term], Awaitable[None]]


class Leadership:
    """Campaigns for the leadership of *store*'s nodes as *name*, and does *duties* while it leads.

    `run` and `observe` must be running.
    """

    def __init__(
        self, store: Store, *, name: str, duties: Sequence[Duty], troubles: Noting
    ) -> None:
        self.leader: Holder | None = None  # as it was told last
        self.is_leader = False
        self._election = Election(store, ELECTION, ttl=LEADER_TTL)
        self._name = name
        self._duties = duties
        self._troubles = troubles

    async def run(self) -> None:
        """Lead whenever it is this node's turn; until cancelled."""
        failures = 0
        rng = system_rng()
        while True:
            try:
                await self._election.lead(self._lead, value=self._name.encode())
            except StoreClosed:
                return
            except StoreError as error:
                _LOG.warning("the leader's duties rest: %s", error)
                failures += 1
                await asyncio.sleep(BACKOFF.seconds(failures, rng))

    async def observe(self) -> None:
        """Keep `leader` at who leads; until cancelled."""
        await keep_following(self._observe, what="following the leader", troubles=self._troubles)

    async def _observe(self, is_fine: Callable[[], None]) -> None:
        async for holder in self._election.observe():
            is_fine()
            self.leader = holder

    async def _lead(self, term: Term) -> None:
        _LOG.info("this node leads from now on, token %d", term.token)
        self.is_leader = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(term.wait_lost())
                for duty in self._duties:
                    tasks.create_task(_do(duty, term))
        finally:
            self.is_leader = False


async def _do(duty: Duty, term: Term) -> None:
    """*duty*, begun again when the store fails it; its faults are its own."""
    failures = 0
    rng = system_rng()
    while term.is_held:
        try:
            await duty(term)
        except FencedOff:
            return  # the term is over, or will be known to be in a moment
        except StoreError as error:
            _LOG.warning("a duty of the leader waits: %s", error)
            failures += 1
            await asyncio.sleep(BACKOFF.seconds(failures, rng))
        except Exception:  # noqa: BLE001 - the other duties go on
            _LOG.exception("a duty of the leader failed; it rests until the next term")
            return


def compaction(store: Store, *, every: timedelta = HISTORY_KEPT) -> Duty:
    """The duty to forget what changed longer ago than *every*, up to twice that.

    For a store that keeps all history until it is told to forget it.
    """

    async def compact(term: Term) -> None:
        while True:
            revision = store.statistics().revision
            await asyncio.sleep(every.total_seconds())
            # Fenced: a node that was deposed while it slept forgets nothing.
            await term.write([Put(_COMPACTED, str(revision).encode())])
            try:
                await store.compact(revision)
            except Compacted:
                continue  # by its owner, or by the leader before

    return compact

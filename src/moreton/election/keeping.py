"""The asyncio host of a `Tenure`: renews one lease, and says at once when it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import assert_never

from moreton.election.core.tenure import (
    LeaseGone,
    Lose,
    Renew,
    Renewed,
    Tenure,
    TenureEffect,
    TenureEvent,
    TurnCame,
    Unanswered,
)
from moreton.kernel.errors import MoretonError
from moreton.kernel.time import Clock
from moreton.store import LeaseId, Store
from moreton.store.errors import LeaseNotFound, StoreClosed

_LOG = logging.getLogger("moreton.election")
# The loop's timers stand still while the machine sleeps: the clock is looked at this often.
LOOK_SECONDS = 1.0
# A timer is never set shorter: clocks of different grain would make it spin.
_TIMER_SECONDS_MIN = 0.001


class Keeper:
    """Keeps the lease that the entry at *key* hangs on, until `stop` or until it is lost.

    *on_lost* is called once, from a timer: in the same turn of the loop in which a stopped process
    wakes up, so before any task that waited for something takes its next step.
    """

    def __init__(
        self,
        store: Store,
        tenure: Tenure,
        *,
        lease: LeaseId,
        key: bytes,
        token: int,
        clock: Clock,
        on_lost: Callable[[str], None],
    ) -> None:
        self._store = store
        self._tenure = tenure
        self._lease = lease
        self._key = key
        self._token = token
        self._clock = clock
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._renewals: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._set_timer()

    @property
    def is_held(self) -> bool:
        """Whether the lease can be relied on at this moment."""
        return not self._stopped and self._clock.now() < self._tenure.held_until

    def hold(self) -> None:
        """From now on the lease counts as lost when it could not be renewed in time."""
        self._tell(TurnCame())

    async def renew_now(self, within: timedelta) -> bool:
        """Renew at once, and see that the entry is there; whether that is certain."""
        event = await self._ask(within)
        self._tell(event)
        return isinstance(event, Renewed) and self.is_held

    def stop(self) -> None:
        """Renew no more; `on_lost` is not called any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for renewal in self._renewals:
            renewal.cancel()

    def _tell(self, event: TenureEvent) -> None:
        if not self._stopped:
            self._perform(self._tenure.handle(event, self._clock.now()))

    def _on_timer(self) -> None:
        self._timer = None
        self._perform(self._tenure.wake(self._clock.now()))

    def _perform(self, effects: Sequence[TenureEffect]) -> None:
        for effect in effects:
            match effect:
                case Renew(within):
                    renewal = self._loop.create_task(self._renew(within))
                    self._renewals.add(renewal)
                    renewal.add_done_callback(self._renewals.discard)
                case Lose(reason):
                    self.stop()
                    self._on_lost(reason)
                    return
                case _:
                    assert_never(effect)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._tenure.deadline()
        if deadline is not None and not self._stopped:
            seconds = (deadline - self._clock.now()).total_seconds()
            delay = min(max(seconds, _TIMER_SECONDS_MIN), LOOK_SECONDS)
            self._timer = self._loop.call_later(delay, self._on_timer)

    async def _renew(self, within: timedelta) -> None:
        event = await self._ask(within)
        if isinstance(event, Unanswered):
            _LOG.warning("the lease of %r was not renewed, %s", self._key, event.reason)
        self._tell(event)

    async def _ask(self, within: timedelta) -> TenureEvent:
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await self._ask_store()
        except LeaseNotFound:
            return LeaseGone("its lease has ended")
        except StoreClosed:
            return LeaseGone("the store was closed")
        except TimeoutError:
            reason = f"the store did not answer within {within.total_seconds():.3g}s"
        except MoretonError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a leader without a heartbeat would be worse
            reason = f"{type(error).__name__}: {error}"
        return Unanswered(reason)

    async def _ask_store(self) -> TenureEvent:
        asked = self._clock.now()
        ttl = await self._store.keep_alive(self._lease)
        # Not a write, nor a second lease: somebody may have deleted the entry by hand.
        found = await self._store.range(self._key)
        if not any(kv.create_revision == self._token for kv in found.kvs):
            return LeaseGone("its entry was deleted")
        return Renewed(asked, ttl)

"""Takes what is due, in one loop: new sagas, timers, those of workers that vanished."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from threading import Thread
from typing import TYPE_CHECKING

from moreton.transactions.saga.hosting.workshop import LedgerTrouble, Workshop
from moreton.transactions.saga.ledgers.port import SagaRow
from moreton.transactions.saga.queues.table import QueueTable

if TYPE_CHECKING:
    from moreton.transactions.saga.schedules.firing import Timekeeper

_log = logging.getLogger("moreton.transactions.saga")
_TROUBLE_SECONDS = 0.5
_LOOK_SECONDS = 1.0
# How soon it is counted again how many wait when one was refused.
_RECOUNT_SECONDS = 0.05


class Dispatcher:
    """A thread that looks every *poll_seconds*, and when the workshop's bell rings."""

    def __init__(
        self, workshop: Workshop, timekeeper: Timekeeper | None, *, queues: Sequence[str],
        poll_seconds: float, lease_seconds: float,
    ) -> None:  # fmt: skip
        self._shop, self._timekeeper = workshop, timekeeper
        self._poll_seconds = poll_seconds
        self._renew_seconds = lease_seconds / 3
        self._names = list(workshop.sagas)
        # Where sagas are taken from: "" is no queue. Each is the first to be asked in its turn.
        self._sources = deque(["", *queues])
        self._queues = QueueTable(workshop.ledger)
        self._looked = self._renewed = time.monotonic()
        self._well = True
        self._thread = Thread(target=self._run, name="moreton-sagas", daemon=True)

    def start(self) -> None:
        """Begin to take sagas."""
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._shop.closing.set()
        self._shop.bell.set()
        self._thread.join()

    def _run(self) -> None:
        shop = self._shop
        while not shop.closing.is_set():
            try:
                fired = self._timekeeper is not None and self._timekeeper.look()
                taken = self._take() or fired
                self._look_after()
            except LedgerTrouble as error:
                if self._well:
                    _log.warning("%s", error)
                self._well = False
                shop.closing.wait(_TROUBLE_SECONDS)
                continue
            except Exception:  # noqa: BLE001 - without this thread nothing goes on
                _log.exception("sagas could not be taken from the log: trying again")
                shop.closing.wait(_TROUBLE_SECONDS)
                continue
            if not self._well:
                _log.warning("the log of sagas in %s is back", shop.ledger.where)
            self._well = True
            if not taken:
                shop.bell.wait(self._poll_seconds)
            shop.bell.clear()

    def _take(self) -> bool:
        """Claim what there is room for, in turn from each queue and from none."""
        shop = self._shop
        if len(shop.active) > shop.workers or not self._names:
            shop.more = True
            shop.bell.wait(self._poll_seconds)
            return False
        taken = more = False
        for source in self._sources:
            rows, left = self._claim(source)
            logs = shop.ledger.logs([row.number for row in rows]) if rows else {}
            for row in rows:
                shop.resume(row, logs.get(row.number, []))
            taken, more = taken or bool(rows), more or left
        self._sources.rotate(-1)
        shop.more = more
        return taken

    def _claim(self, source: str) -> tuple[list[SagaRow], bool]:
        """Some of *source*, and whether more may be there."""
        shop, now = self._shop, self._shop.clock.now().nanos // 1000
        if source:
            # A place of a queue is for a saga that is worked on, not for one behind a thread.
            room = shop.workers - len(shop.active)
            if room <= 0:
                return [], True
            return self._queues.take(source, shop.owner, self._names, room, now)
        room = 2 * shop.workers - len(shop.active)
        if room <= 0:
            return [], True
        rows = shop.ledger.claim(shop.owner, self._names, room, now)
        return rows, len(rows) == room

    def _look_after(self) -> None:
        """Leases, what was put aside while the ledger failed, and how much waits."""
        shop, now = self._shop, time.monotonic()
        if now - self._renewed >= self._renew_seconds:
            self._renewed = now
            if numbers := list(shop.active):
                shop.ledger.renew(shop.owner, numbers)
        passed = now - self._looked
        if shop.backlog.refused and passed >= _RECOUNT_SECONDS:
            shop.backlog.recount(shop.ledger.pending)
        if passed >= _LOOK_SECONDS:
            self._looked = now
            if stranded := dict(shop.stranded):
                shop.ledger.release(shop.owner, list(stranded.items()))
                for number, epoch in stranded.items():
                    if shop.stranded.get(number) == epoch:
                        del shop.stranded[number]
            shop.backlog.recount(shop.ledger.pending)

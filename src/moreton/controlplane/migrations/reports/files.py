"""The report of each migration that is over, as a file that is there without being asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from moreton.controlplane.migrations.records import STATES, Record, decode_record
from moreton.store import Store, prefix_end
from moreton.strangler.reporting import Report, as_page
from moreton.strangler.rollout.core.progress import Phase

_LOG = logging.getLogger("moreton.controlplane")
_OVER = frozenset({Phase.DONE, Phase.ROLLED_BACK})
# By then everybody has written down what he saw last.
_SETTLED_SECONDS = 1.0


class ReportFiles:
    """Writes a page into *folder* whenever a migration of *store* is over; *report* tells it.

    The newest replaces the one before: it tells of all tries.
    """

    def __init__(
        self, store: Store, folder: Path, report: Callable[[str], Awaitable[Report]]
    ) -> None:
        self._store = store
        self._folder = folder
        self._report = report

    async def run(self) -> None:
        """Write, until cancelled. Raises the store's errors."""
        known: dict[str, int] = {}
        while True:
            found = await self._store.range(STATES, prefix_end(STATES))
            for record in (decode_record(kv.value) for kv in found.kvs):
                if record is None or record.progress.phase not in _OVER:
                    continue
                name, before = record.plan.name, known.get(record.plan.name)
                known[name] = record.entries
                if before != record.entries and (before is not None or not self._is_told(record)):
                    await self._write(name)
            await self._wait_change(found.revision)
            await asyncio.sleep(_SETTLED_SECONDS)

    def _is_told(self, record: Record) -> bool:
        with contextlib.suppress(OSError, ValueError):
            written = report_file(self._folder, record.plan.name).stat().st_mtime
            return written > datetime.fromisoformat(record.changed).timestamp()
        return False

    async def _write(self, name: str) -> None:
        report = await self._report(name)
        file = report_file(self._folder, name)
        try:
            await asyncio.to_thread(_put, file, report)
        except OSError as error:  # a full disk is no reason to do nothing else
            _LOG.warning("the report of migration %s is not written: %s", name, error)
        else:
            _LOG.info("the report of migration %s is in %s", name, file)

    async def _wait_change(self, revision: int) -> None:
        watch = self._store.watch(STATES, prefix_end(STATES), from_revision=revision + 1)
        async with watch as batches:
            async for _ in batches:
                return


def report_file(folder: Path, name: str) -> Path:
    """Where the report of the migration *name* is, once it is over."""
    return folder / f"{name}.html"


def _put(file: Path, report: Report) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(as_page(report), encoding="utf-8")
    fresh.replace(file)

"""What is to be written about instances, in as few transactions as will do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta

from moreton.kernel.rng import system_rng
from moreton.registry.core.instance import InstanceId
from moreton.registry.core.standing import Health
from moreton.registry.errors import InstanceNotRegistered, RegistryBusy
from moreton.registry.host import Registry
from moreton.registry.registering import FencedWrite
from moreton.resilience.core.backoff import Backoff
from moreton.store.errors import StoreClosed, StoreError

_LOG = logging.getLogger("moreton.registry")
_BACKOFF = Backoff(initial=timedelta(milliseconds=50), cap=timedelta(seconds=2))
# Of a mass failure the log tells the first of each pass, and how many there are.
_LINES_MAX = 10


class Writing:
    """A queue of what is to be written, in which the newest word about an instance counts."""

    def __init__(self, registry: Registry, write: FencedWrite | None) -> None:
        self._registry = registry
        self._write = write
        self._telling = registry.telling(write)
        self._health: dict[tuple[str, InstanceId], Health] = {}
        self._gone: dict[tuple[str, InstanceId], str] = {}
        self._ended: dict[tuple[str, InstanceId], str] = {}
        self._news = asyncio.Event()

    def health(self, service: str, instance_id: InstanceId, health: Health) -> None:
        """Tell what was found."""
        self._health[service, instance_id] = health
        self._news.set()

    def let_go(self, service: str, instance_id: InstanceId, why: str) -> None:
        """Forget who fell for good, because of *why*."""
        self._gone[service, instance_id] = why
        self._news.set()

    def deregister(self, service: str, instance_id: InstanceId, why: str) -> None:
        """End a registration, because of *why*."""
        self._ended[service, instance_id] = why
        self._news.set()

    async def run(self) -> None:
        """Write; until cancelled. What the store refuses for now is written later.

        Raises `FencedOff`, `StoreClosed`.
        """
        failures = 0
        rng = system_rng()
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._flush()
            except StoreClosed:
                raise
            except (StoreError, RegistryBusy) as error:
                failures += 1
                _LOG.warning("what was found of instances is written later: %s", error)
                self._news.set()
                await asyncio.sleep(_BACKOFF.seconds(failures, rng))
            else:
                failures = 0

    async def _flush(self) -> None:
        health, self._health = self._health, {}
        gone, self._gone = self._gone, {}
        ended, self._ended = self._ended, {}
        try:
            await self._telling.health(health)
            _log_health(health)
            health = {}
            await self._telling.let_go(gone)
            _log_gone(gone)
            gone = {}
            while ended:
                who = next(iter(ended))
                with contextlib.suppress(InstanceNotRegistered):
                    await self._registry.deregister(
                        *who, by="checks", why=ended[who], write=self._write
                    )
                del ended[who]
        finally:
            # Anything newer counts more.
            self._health = {**health, **self._health}
            self._gone = {**gone, **self._gone}
            self._ended = {**ended, **self._ended}


def _log_health(found: dict[tuple[str, InstanceId], Health]) -> None:
    for (service, instance_id), health in list(found.items())[:_LINES_MAX]:
        failed = health.critical()
        if failed is None:
            _LOG.info('instance "%s" of "%s": %s', instance_id, service, health.status)
        else:
            _LOG.warning(
                'instance "%s" of "%s" is out: check %s: %s',
                instance_id,
                service,
                failed.id,
                failed.output,
            )
    _log_more(len(found))


def _log_gone(found: dict[tuple[str, InstanceId], str]) -> None:
    for (service, instance_id), why in list(found.items())[:_LINES_MAX]:
        _LOG.info('instance "%s" of "%s" fell for good: %s', instance_id, service, why)
    _log_more(len(found))


def _log_more(count: int) -> None:
    if count > _LINES_MAX:
        _LOG.info("and %d more instances at the same time", count - _LINES_MAX)

"""Keeps what moreton.yaml, files and DNS names say registered, as they say it now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path

from moreton.config.files import prints
from moreton.controlplane.following import Noting
from moreton.controlplane.sources.names import NameNotResolved, Names, resolved
from moreton.controlplane.sources.targets import Target, instances_of, read_targets
from moreton.gateway.config import NamesModel, ServiceModel
from moreton.registry import Instance, InstanceId, Registry
from moreton.registry.core.standing import InstanceKind, InstanceSource
from moreton.registry.errors import InstanceNotRegistered, InstanceNotValid
from moreton.registry.registering import FencedWrite

FILE_SECONDS = 0.5
# Names of hosts in files are asked for again.
_NAMES_EVERY = timedelta(seconds=30)
_AGAIN = timedelta(seconds=2)
# What is written and not durable yet makes every read of the store dearer.
_REGISTERED_AT_ONCE = 32
_SOURCES = frozenset({InstanceSource.YAML, InstanceSource.FILE, InstanceSource.DNS})


class Sources:
    """What is registered for those who do not themselves; *base* is where relative paths begin."""

    def __init__(
        self, registry: Registry, troubles: Noting, *, base: Path, write: FencedWrite
    ) -> None:
        self._registry = registry
        self._troubles = troubles
        self._base = base
        self._write = write
        self._places = asyncio.Semaphore(_REGISTERED_AT_ONCE)

    async def follow(self, models: Mapping[str, ServiceModel]) -> None:
        """Follow all of *models*, by the names to register under; until cancelled.

        Raises the store's errors and `FencedOff`.
        """
        await self._forget_others(models)
        works = [self._follow(name, model) for name, model in models.items()]
        tasks = [asyncio.ensure_future(each) for each in works]
        try:
            if tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            await asyncio.Event().wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, name: str, model: ServiceModel) -> None:
        if model.addresses is not None:
            try:
                targets = [Target(address) for address in model.addresses]
                await self._say(name, InstanceSource.YAML, targets)
            except InstanceNotValid as error:
                self._troubles.begin(f"addresses of {name}", f"{error}; they are not registered")
        elif model.file is not None:
            await self._follow_file(name, self._base / model.file)
        elif model.dns is not None:
            await self._follow_names(name, model.dns)

    async def _follow_file(self, name: str, file: Path) -> None:
        what = f"targets of {name} in {file.name}"

        async def look() -> timedelta:
            try:
                text = await asyncio.to_thread(file.read_text, encoding="utf-8")
                targets = read_targets(text)
                await self._say(name, InstanceSource.FILE, await resolved(targets))
            except OSError as error:
                return self._wrong(what, f"it cannot be read: {error.strerror}".lower())
            except (ValueError, NameNotResolved) as error:
                return self._wrong(what, str(error))
            self._troubles.end(what)
            return _NAMES_EVERY

        while True:
            seen = prints([file])
            pause = await look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    while prints([file]) == seen:
                        await asyncio.sleep(FILE_SECONDS)

    async def _follow_names(self, name: str, model: NamesModel) -> None:
        names, what = Names(model), f"addresses of {name} in DNS"
        while True:
            try:
                targets, pause = await names.resolve()
                await self._say(name, InstanceSource.DNS, targets)
            except (NameNotResolved, InstanceNotValid) as error:
                pause = self._wrong(what, str(error))
            else:
                self._troubles.end(what)
            await asyncio.sleep(pause.total_seconds())

    def _wrong(self, what: str, why: str) -> timedelta:
        """What was known last goes on counting: a wrong file is no reason to stop serving."""
        self._troubles.begin(what, f"{why}; what was known last goes on counting")
        return _AGAIN

    async def _say(self, service: str, source: InstanceSource, targets: list[Target]) -> None:
        """Let *targets* be registered for *source*, and no others."""
        wanted = instances_of(service, source, targets)
        async with self._places:
            there = (await self._registry.instances(service)).instances
            known = {each.id for each in there}
            new = [each for each in wanted.values() if each.id not in known]
            await self._registry.register_persistent(new, write=self._write)
            for instance in wanted.values():
                if instance.id in known:
                    await self._registry.register(instance, write=self._write)
            for instance in there:
                if _is_ours(instance, {source}) and instance.id not in wanted:
                    await self._end(instance, f"{source} names it no more")

    async def _forget_others(self, models: Mapping[str, ServiceModel]) -> None:
        """End what was registered for a source that a service does not have any more."""
        for instance in (await self._registry.instances()).instances:
            model = models.get(instance.service)
            sources = _SOURCES - {_source(model)}
            if _is_ours(instance, sources):
                await self._end(instance, f"moreton.yaml has no {instance.source} for it any more")

    async def _end(self, instance: Instance, why: str) -> None:
        with contextlib.suppress(InstanceNotRegistered):
            await self._registry.deregister(
                instance.service,
                InstanceId(instance.id),
                by=instance.source.value,
                why=why,
                write=self._write,
            )


def _is_ours(instance: Instance, sources: frozenset[InstanceSource] | set[InstanceSource]) -> bool:
    return instance.kind is InstanceKind.PERSISTENT and instance.source in sources


def _source(model: ServiceModel | None) -> InstanceSource | None:
    if model is None:
        return None
    if model.addresses is not None:
        return InstanceSource.YAML
    if model.file is not None:
        return InstanceSource.FILE
    return InstanceSource.DNS if model.dns is not None else None


async def until(edited: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """*work* until *edited*, or until it fails. Raises what it raises."""
    working = asyncio.ensure_future(work())
    waiting = asyncio.ensure_future(edited.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)

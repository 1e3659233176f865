"""What one node does for registered instances of all: health checks, and what goes with them."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from moreton.controlplane.cluster.duties import Duty
from moreton.controlplane.following import Noting, keep_following
from moreton.controlplane.quotas.dividing import Divider
from moreton.controlplane.sources.following import Sources, until
from moreton.election import Term
from moreton.registry.core.checks import CommandProbe, GrpcProbe, HttpProbe, TcpProbe
from moreton.registry.core.documents import CARE, PREFIX, parse_key
from moreton.registry.core.instance import Instance
from moreton.registry.core.standing import CheckStatus
from moreton.registry.health.checker import Checker
from moreton.registry.health.command import look_command
from moreton.registry.health.http import look_http
from moreton.registry.health.looking import Finding
from moreton.registry.health.tcp import look_tcp
from moreton.registry.registering import FencedWrite
from moreton.store import Store, prefix_end

if TYPE_CHECKING:
    from moreton.controlplane.assembly.plane import Plane

# Runs until it is cancelled, and writes by what it is given.
Work: TypeAlias = Callable[[FencedWrite], Awaitable[None]]


def works_of(plane: Plane) -> list[Work]:
    """What is to be done once for all nodes."""
    # With the gateway's compiler, which is loaded by now.
    from moreton.controlplane.quotas.proxy import divided_by  # noqa: PLC0415 - as above

    checker = Checker(
        plane.registry,
        {
            HttpProbe: look_http,
            TcpProbe: look_tcp,
            GrpcProbe: _look_grpc,
            CommandProbe: _looking_by_commands(plane),
        },
    )
    divider = Divider(plane.store, lambda: divided_by(plane))
    telling = partial(plane.migrations.deliver, plane.next_edit)
    own: list[Work] = [plane.migrations.drive, telling, plane.migrations.write_reports]
    return [checker.run, _caring(plane), _following(plane), divider.run, *own]


def caring_duties(plane: Plane) -> list[Duty]:
    """The works as duties of the leader, who writes through its term's fence."""
    return [_duty(work) for work in works_of(plane)]


@asynccontextmanager
async def caring_alone(plane: Plane) -> AsyncIterator[None]:
    """The works in the background, for a node whose store nobody shares."""

    async def write(then: Any, *, compare: Any = ()) -> Any:
        return await plane.store.txn(compare, then)

    tasks = [
        asyncio.create_task(_keep_working(work, write, plane.troubles), name="care")
        for work in works_of(plane)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_working(work: Work, write: FencedWrite, troubles: Noting) -> None:
    async def once(is_fine: Callable[[], None]) -> None:
        is_fine()
        await work(write)

    await keep_following(once, what="caring for instances", troubles=troubles)


def _duty(work: Work) -> Duty:
    async def do(term: Term) -> None:
        await work(term.write)

    return do


def _caring(plane: Plane) -> Work:
    """Tells what moreton.yaml says of the instances of services, as it says now."""

    async def care(write: FencedWrite) -> None:
        while True:
            edited = plane.next_edit()
            known = await _cared_for(plane.store)
            await plane.registry.telling(write).care(plane.settings.care, known)
            await edited.wait()

    return care


def _following(plane: Plane) -> Work:
    """Registers what moreton.yaml, files and DNS names say, as they say it now."""

    async def follow(write: FencedWrite) -> None:
        while True:
            edited, settings = plane.next_edit(), plane.settings
            base = settings.folder.absolute()
            sources = Sources(plane.registry, plane.troubles, base=base, write=write)
            await until(edited, partial(sources.follow, settings.sources))

    return follow


async def _cared_for(store: Store) -> Sequence[str]:
    found = await store.range(PREFIX, prefix_end(PREFIX))
    keys = [parse_key(kv.key) for kv in found.kvs]
    return [key.service for key in keys if not key.id and key.part == CARE]


async def _look_grpc(instance: Instance, probe: GrpcProbe) -> Finding:
    # Loaded with the first check of its kind.
    module = importlib.import_module("moreton.registry.health.grpc")
    found: Finding = await module.look_grpc(instance, probe)
    return found


def _looking_by_commands(plane: Plane) -> Callable[[Instance, CommandProbe], Awaitable[Finding]]:
    async def look(instance: Instance, probe: CommandProbe) -> Finding:
        care = plane.settings.care.get(instance.service)
        own = care is not None and any(each.probe == probe for each in care.checks)
        if not (own or plane.settings.controlplane.command_checks):
            said = "commands are run only when moreton.yaml names or allows them"
            return Finding(CheckStatus.CRITICAL, said)
        return await look_command(instance, probe)

    return look

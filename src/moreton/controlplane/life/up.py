"""The life of the control plane: start everything in order, serve, stop everything in order.

Nothing is told to Envoy before everything that it should have is known: an adopted Envoy must not
lose a thing meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import socket
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from moreton.controlplane.checks import notes_of
from moreton.controlplane.cluster.alone import Alone, alone, node_name
from moreton.controlplane.cluster.joining import Membership
from moreton.controlplane.consul import bind_consul
from moreton.controlplane.development import DevelopmentProcesses
from moreton.controlplane.dns import BoundDns, bind_dns
from moreton.controlplane.errors import StateFolderUnusable
from moreton.controlplane.following import in_background, keep_following
from moreton.controlplane.life.collecting import helpers
from moreton.controlplane.life.loading import ASSEMBLY, join_shared, load
from moreton.controlplane.life.memory import settle_memory
from moreton.controlplane.life.places import (
    advertised_url,
    api_url,
    bind_api,
    check_ports,
    envoy_binary,
    state_of,
    store_url,
)
from moreton.controlplane.life.process import Given
from moreton.controlplane.life.proxy import begin_envoy, supervisor_of
from moreton.controlplane.life.stopping import Stop, StopSignals, stop_signals
from moreton.controlplane.settings import Settings, load_settings
from moreton.controlplane.state_folder import StateFolder
from moreton.envoy.binary import envoy_version
from moreton.envoy.identity import read_identity
from moreton.envoy.supervisor import EnvoySupervisor
from moreton.store import open_store

if TYPE_CHECKING:
    from moreton.controlplane.assembly.nodes import Nodes
    from moreton.controlplane.assembly.plane import Plane

_CARING = "moreton.controlplane.cluster.caring"
_LOG = logging.getLogger("moreton.controlplane")


async def up(path: Path, given: Given) -> None:
    """Run the control plane for *path* until a signal says to stop.

    Raises errors of Moreton when it cannot start; afterwards it lives with troubles and logs them.
    """
    with stop_signals() as signals:
        async with AsyncExitStack() as stack:
            starting = asyncio.create_task(_start(path, given, stack, signals), name="start")
            both: list[asyncio.Future[None] | asyncio.Future[Stop]] = [starting, signals.told]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
                return
            await starting
            await signals.told


async def _start(path: Path, given: Given, stack: AsyncExitStack, signals: StopSignals) -> None:
    settings = load_settings(path)
    state = state_of(settings)
    folder = StateFolder.hold(state)
    stack.callback(folder.release)
    listening = bind_api(settings)
    stack.callback(listening.close)
    dns = bind_dns(settings.dns)
    consul = bind_consul(settings.consul, settings.folder)
    for bound in (dns, consul):
        if bound is not None:
            stack.callback(bound.close)
    binary = envoy_binary(settings)
    found = _envoy_runs(state)
    if not found:
        check_ports(settings)
    # In threads: another program is asked, and what takes longest to load is loaded meanwhile.
    loop = asyncio.get_running_loop()
    version = loop.run_in_executor(None, envoy_version, binary)
    url = store_url(settings, state, given.store)
    store = open_store(url)
    stack.push_async_callback(store.close)
    loaded = loop.run_in_executor(None, importlib.import_module, ASSEMBLY)
    member = await join_shared(store, url, settings, folder, binary, serves=found)
    await version
    envoy = supervisor_of(settings, state, binary)
    async with AsyncExitStack() as begun:
        waiting = await begin_envoy(envoy, begun, signals, found=found or _envoy_runs(state))
        await loaded
        own = _own_name(given, settings)
        plane = await load(settings, store, binary, envoy, stack, waiting=waiting, node=own)
        await stack.enter_async_context(helpers(plane, signals))
        nodes = await _enter(plane, member, url, given, stack)
        await _start_programs(plane, state, stack, signals, nodes=nodes)
        await _serve_dns(plane, dns, stack)
        await envoy.wait_ready()
        if member is None:
            await _care(plane, stack)
        # It began first and it ends first, while what tells it is still there.
        stack.push_async_exit(begun.pop_all())
    _say_where(settings)
    token = folder.token() if member is None else member.token
    await _serve_api(plane, envoy, listening, stack, nodes=nodes, token=token)
    if consul is not None:
        serving = consul.serving(plane, token=token, nodes=nodes.places)
        plane.consul = await stack.enter_async_context(serving)
        _LOG.info("Consul's API is at %s", consul.url)
    _announce(plane, folder, nodes, listening)
    settle_memory()


def _own_name(given: Given, settings: Settings) -> str:
    return node_name(given.node or settings.controlplane.node)


async def _serve_dns(plane: Plane, dns: BoundDns | None, stack: AsyncExitStack) -> None:
    if dns is not None:
        plane.dns = await stack.enter_async_context(dns.serving(plane.discovery.view))
        _LOG.info("DNS answers at %s:%d", *dns.address)


def _say_where(settings: Settings) -> None:
    for note in notes_of(settings.gateways, settings.routes):
        _LOG.warning("%s", note)
    for name, gateway in settings.gateways.items():
        shown = ", ".join(f"{x.address.host}:{x.address.port}" for x in gateway.listeners)
        _LOG.info("gateway %s listens on %s", name, shown)


def _announce(
    plane: Plane, folder: StateFolder, nodes: Nodes | Alone, listening: socket.socket
) -> None:
    """Say where the API answers: to commands of this machine, and to the other nodes."""
    settings = plane.settings
    api = api_url(listening, settings)
    certificate = settings.api_tls[0] if settings.api_tls else None
    try:
        folder.announce(api, certificate)
    except StateFolderUnusable as error:  # a full disk must not keep the gateway down
        plane.troubles.begin("announcement", str(error))
    nodes.serve(advertised_url(listening, settings), certificate)
    _LOG.info("control plane ready, its API is at %s", api)


def _envoy_runs(state: Path) -> bool:
    return read_identity(state / "envoy" / "envoy.json") is not None


async def _enter(
    plane: Plane, member: Membership | None, url: str, given: Given, stack: AsyncExitStack
) -> Nodes | Alone:
    """Be one of the nodes that share the store, if it is one to be shared."""
    own = _own_name(given, plane.settings)
    if member is None:
        return Alone(own)
    from moreton.controlplane.assembly.nodes import Nodes, duties_for  # noqa: PLC0415 - elections

    nodes = Nodes(
        plane,
        name=own,
        home=member.home,
        folder=state_of(plane.settings),
        duties=duties_for(plane, url),
    )
    await nodes.enter()
    telling = partial(plane.migrations.tell, own)
    work = keep_following(telling, what="telling of migrations", troubles=plane.troubles)
    await stack.enter_async_context(in_background(work, name="tell of migrations"))
    await stack.enter_async_context(nodes.running())
    _LOG.info("this is node %s of the cluster %s", own, member.home.cluster)
    return nodes


async def _care(plane: Plane, stack: AsyncExitStack) -> None:
    """What one node does for all, where there is but one."""
    await stack.enter_async_context(alone(plane.keep_history, plane.troubles))
    # Health checks take a while to load; traffic flows meanwhile.
    caring = await asyncio.to_thread(importlib.import_module, _CARING)
    await stack.enter_async_context(caring.caring_alone(plane))


async def _start_programs(
    plane: Plane,
    state: Path,
    stack: AsyncExitStack,
    signals: StopSignals,
    *,
    nodes: Nodes | Alone,
) -> None:
    """Start (or adopt) what `run:` says; at the end stop it, unless it is to go on."""
    node = "" if isinstance(nodes, Alone) else nodes.name
    programs = DevelopmentProcesses(
        state / "services",
        base=plane.settings.folder,
        registry=plane.registry,
        drained=plane.drains.wait_idle,
        instructions=plane.instructions,
        say=_LOG.info,
        node=node,
    )
    if node and plane.settings.runs:
        _LOG.warning("run: registers at 127.0.0.1, where other machines find it not: use it alone")
    plane.programs = programs

    async def end() -> None:
        await (programs.detach() if signals.leaves(otherwise=False) else programs.stop())

    stack.push_async_callback(end)
    await programs.replace(plane.settings.runs)


async def _serve_api(
    plane: Plane,
    envoy: EnvoySupervisor,
    listening: socket.socket,
    stack: AsyncExitStack,
    *,
    nodes: Nodes | Alone,
    token: str,
) -> None:
    # FastAPI takes longer to load than everything else together; traffic flows meanwhile.
    module = await asyncio.to_thread(importlib.import_module, "moreton.controlplane.assembly.looks")
    app = await asyncio.to_thread(module.application, plane, envoy, token, nodes=nodes)
    server = importlib.import_module("moreton.controlplane.api.serving.server")
    certificate, key = plane.settings.api_tls or (None, None)
    desk = module.desk(plane, token)
    if isinstance(nodes, Alone):
        # Leases that were left over began anew with the store, and nobody could renew them yet.
        await plane.registry.give_time()
    serving = server.serving(app, listening, certificate=certificate, key=key, desk=desk)
    await stack.enter_async_context(serving)
    # Open streams and polls end, so that the server need not wait for them.
    for each in (plane.events, plane.notices, plane.instructions):
        stack.callback(each.close)
    stack.callback(plane.drains.end_polls)

"""The life of the control plane: start everything in order, serve, stop everything in order.

Nothing is told to Envoy before everything that it should have is known: an adopted Envoy must not
lose a thing meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import resource
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moreton.controlplane.cluster.joining import Membership
from moreton.controlplane.development import DevelopmentProcesses
from moreton.controlplane.dns import bind_dns
from moreton.controlplane.errors import StateFolderUnusable
from moreton.controlplane.life.loading import GROUP, join_shared, load
from moreton.controlplane.life.log import configure_logging
from moreton.controlplane.life.places import (
    advertised_url,
    api_url,
    bind_api,
    check_ports,
    envoy_binary,
    state_of,
    store_url,
)
from moreton.controlplane.life.proxy import start_envoy
from moreton.controlplane.life.stopping import Stop, StopSignals, stop_signals
from moreton.controlplane.settings import load_settings
from moreton.controlplane.state_folder import StateFolder
from moreton.envoy.binary import envoy_version
from moreton.envoy.identity import read_identity
from moreton.envoy.supervisor import EnvoySupervisor
from moreton.store import open_store

if TYPE_CHECKING:
    from moreton.controlplane.assembly.nodes import Alone, Nodes
    from moreton.controlplane.assembly.plane import Plane

_LOG = logging.getLogger("moreton.controlplane")
# Enough for some tens of thousands of connections, and no more than programs that close every
# file one by one can go through when they are started from here.
FILES_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says, which counts more than `moreton.yaml`."""

    store: str | None = None
    node: str | None = None


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
    if dns is not None:
        stack.callback(dns.close)
    binary = envoy_binary(settings)
    found = _envoy_runs(state)
    if not found:
        check_ports(settings)
    envoy = EnvoySupervisor(
        state / "envoy",
        binary=binary,
        group=GROUP,
        drain_time=settings.envoy.drain_time,
        concurrency=settings.envoy.concurrency,
    )
    # In a thread, while this one loads the rest: a process is started to ask it.
    version = asyncio.create_task(asyncio.to_thread(envoy_version, binary))
    url = store_url(settings, state, given.store)
    store = open_store(url)
    stack.push_async_callback(store.close)
    member = await join_shared(store, url, settings, folder, binary, serves=found)
    plane = await load(settings, store, binary, envoy, stack)
    await version
    name = given.node or settings.controlplane.node
    nodes = await _enter(plane, member, url, name, stack)
    await _start_programs(plane, state, stack, signals, node="" if member is None else nodes.name)
    if dns is not None:
        plane.dns = await stack.enter_async_context(dns.serving(plane.discovery.view))
        _LOG.info("DNS answers at %s:%d", *dns.address)
    await start_envoy(envoy, stack, signals, found=found or _envoy_runs(state))
    for gateway_name, gateway in settings.gateways.items():
        shown = ", ".join(f"{x.address.host}:{x.address.port}" for x in gateway.listeners)
        _LOG.info("gateway %s listens on %s", gateway_name, shown)
    token = folder.token() if member is None else member.token
    await _serve_api(plane, envoy, listening, stack, nodes=nodes, token=token)
    _announce(plane, folder, nodes, listening)
    _settle_memory()


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
    plane: Plane, member: Membership | None, url: str, name: str | None, stack: AsyncExitStack
) -> Nodes | Alone:
    """Be one of the nodes that share the store, if it is one to be shared."""
    from moreton.controlplane.assembly.nodes import (  # noqa: PLC0415 - gRPC and protobuf
        Alone,
        Nodes,
        alone,
        duties_for,
        node_name,
    )

    own = node_name(name)
    if member is None:
        await stack.enter_async_context(alone(plane))
        return Alone(own)
    nodes = Nodes(
        plane,
        name=own,
        home=member.home,
        folder=state_of(plane.settings),
        duties=duties_for(plane, url),
    )
    await nodes.enter()
    await stack.enter_async_context(nodes.running())
    _LOG.info("this is node %s of the cluster %s", own, member.home.cluster)
    return nodes


def _settle_memory() -> None:
    """What was loaded stays: a collection need not look at it again and holds up nobody."""
    gc.collect()
    gc.freeze()
    gc.enable()


async def _start_programs(
    plane: Plane,
    state: Path,
    stack: AsyncExitStack,
    signals: StopSignals,
    *,
    node: str,
) -> None:
    """Start (or adopt) what `run:` says; at the end stop it, unless it is to go on."""
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
    server = importlib.import_module("moreton.controlplane.api.server")
    certificate, key = plane.settings.api_tls or (None, None)
    renewals = module.renewals(plane, token)
    serving = server.serving(app, listening, certificate=certificate, key=key, renewals=renewals)
    await stack.enter_async_context(serving)
    stack.callback(plane.events.close)
    stack.callback(plane.notices.close)


def run(path: Path, given: Given, *, debug: bool = False) -> None:
    """`up` in an event loop of its own, with this process's log on standard error."""
    configure_logging(debug=debug)
    gc.disable()  # until everything is loaded: nothing of it is garbage
    # gRPC tells of every process that is started; it need not, none of them uses gRPC.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    _allow_connections()
    loop_factory = None
    with contextlib.suppress(ImportError):
        loop_factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(up(path, given))


def _allow_connections() -> None:
    """Each instance may hold one open: a shell's limit of 1,024 files would end that early."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS permits fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

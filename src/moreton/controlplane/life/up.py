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
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from moreton.controlplane.development import DevelopmentProcesses
from moreton.controlplane.errors import ApiNotLoopback, StateFolderUnusable
from moreton.controlplane.life.log import configure_logging
from moreton.controlplane.life.proxy import start_envoy
from moreton.controlplane.life.stopping import Stop, StopSignals, stop_signals
from moreton.controlplane.ports import bind, check_free, is_loopback
from moreton.controlplane.settings import Settings, load_settings
from moreton.controlplane.state_folder import StateFolder
from moreton.envoy.binary import envoy_version, find_envoy
from moreton.envoy.identity import read_identity
from moreton.envoy.supervisor import EnvoySupervisor

if TYPE_CHECKING:
    from moreton.controlplane.assembly.plane import Plane

GROUP = "moreton"
_CERTIFICATES_SECONDS = 1.0
_LOG = logging.getLogger("moreton.controlplane")


async def up(path: Path) -> None:
    """Run the control plane for *path* until a signal says to stop.

    Raises errors of Moreton when it cannot start; afterwards it lives with troubles and logs them.
    """
    with stop_signals() as signals:
        async with AsyncExitStack() as stack:
            starting = asyncio.create_task(_start(path, stack, signals), name="start")
            both: list[asyncio.Future[None] | asyncio.Future[Stop]] = [starting, signals.told]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
                return
            await starting
            await signals.told


async def _start(path: Path, stack: AsyncExitStack, signals: StopSignals) -> None:
    settings = load_settings(path)
    state = state_of(settings)
    folder = StateFolder.hold(state)
    stack.callback(folder.release)
    listening = _bind_api(settings)
    stack.callback(listening.close)
    token = folder.token()
    binary = envoy_binary(settings)
    found = read_identity(state / "envoy" / "envoy.json") is not None
    if not found:
        _check_ports(settings)
    envoy = EnvoySupervisor(
        state / "envoy",
        binary=binary,
        group=GROUP,
        drain_time=settings.envoy.drain_time,
        concurrency=settings.envoy.concurrency,
    )
    # In a thread, while this one loads the rest: a process is started to ask it.
    version = asyncio.create_task(asyncio.to_thread(envoy_version, binary))
    plane = await _load(settings, binary, envoy, stack)
    await version
    await _start_programs(plane, state, stack, signals)
    await start_envoy(envoy, stack, signals, found=found)
    for name, gateway in settings.gateways.items():
        shown = ", ".join(f"{x.address.host}:{x.address.port}" for x in gateway.listeners)
        _LOG.info("gateway %s listens on %s", name, shown)
    await _serve_api(plane, envoy, listening, token, stack)
    api = _api_url(listening, settings)
    try:
        folder.announce(api, settings.api_tls[0] if settings.api_tls else None)
    except StateFolderUnusable as error:  # a full disk must not keep the gateway down
        plane.troubles.begin("announcement", str(error))
    _settle_memory()
    _LOG.info("control plane ready, its API is at %s", api)


def _settle_memory() -> None:
    """What was loaded stays: a collection need not look at it again and holds up nobody."""
    gc.collect()
    gc.freeze()
    gc.enable()


def envoy_binary(settings: Settings) -> Path:
    """The Envoy of *settings*. Raises `EnvoyNotFound`."""
    configured = settings.envoy.binary
    return find_envoy(None if configured is None else settings.folder / configured)


async def _start_programs(
    plane: Plane, state: Path, stack: AsyncExitStack, signals: StopSignals
) -> None:
    """Start (or adopt) what `run:` says; at the end stop it, unless it is to go on."""
    programs = DevelopmentProcesses(
        state / "services", base=plane.settings.folder, registry=plane.registry, say=_LOG.info
    )
    plane.programs = programs

    async def end() -> None:
        await (programs.detach() if signals.leaves(otherwise=False) else programs.stop())

    stack.push_async_callback(end)
    await programs.replace(plane.settings.runs)


async def _load(
    settings: Settings, binary: Path, envoy: EnvoySupervisor, stack: AsyncExitStack
) -> Plane:
    """Everything known, published, and followed from now on.

    The xDS server listens before Envoy starts: an Envoy that finds nobody waits before it tries
    again, and it is there in less time than that.
    """
    from moreton.controlplane.assembly.editing import Editor  # noqa: PLC0415 - gRPC and protobuf
    from moreton.controlplane.assembly.edits import files_of, watch_edits  # noqa: PLC0415 - as above
    from moreton.controlplane.assembly.last_good import keep_last_good  # noqa: PLC0415 - as above
    from moreton.controlplane.assembly.plane import put_together, store_url  # noqa: PLC0415 - same
    from moreton.controlplane.assembly.preflight import preflight_with  # noqa: PLC0415 - as above
    from moreton.envoy.xds import XdsServer  # noqa: PLC0415 - as above
    from moreton.store import open_store  # noqa: PLC0415 - as above

    state = state_of(settings)
    store = open_store(store_url(settings, state))
    stack.push_async_callback(store.close)

    def on_change() -> None:
        plane.publisher.check_proxies()

    xds = XdsServer(on_change=on_change)
    plane = put_together(settings, store, xds, preflight=preflight_with(binary))
    await plane.discovery.load()
    await plane.follower.load()
    plane.apply(settings)
    # Before a proxy can ask: one that is told of nothing would drop everything.
    plane.publisher.publish_now()
    envoy.xds_socket.parent.mkdir(parents=True, exist_ok=True)
    await xds.start(f"unix:{envoy.xds_socket}")
    stack.push_async_callback(xds.stop)
    await stack.enter_async_context(plane.publisher.running())
    await stack.enter_async_context(plane.follower.running())
    await stack.enter_async_context(plane.discovery.running(plane.publisher))
    saving = keep_last_good(plane, state / "envoy", group=GROUP)
    editor = Editor(plane)
    edits = watch_edits(lambda: files_of(settings.path), editor.on_edit)
    certificates = watch_edits(
        editor.certificates, editor.on_certificates, seconds=_CERTIFICATES_SECONDS
    )
    for work in (edits, certificates, saving):
        stack.callback(asyncio.create_task(work).cancel)
    return plane


async def _serve_api(
    plane: Plane,
    envoy: EnvoySupervisor,
    listening: socket.socket,
    token: str,
    stack: AsyncExitStack,
) -> None:
    # FastAPI takes longer to load than everything else together; traffic flows meanwhile.
    module = await asyncio.to_thread(importlib.import_module, "moreton.controlplane.assembly.looks")
    app = await asyncio.to_thread(module.application, plane, envoy, token)
    server = importlib.import_module("moreton.controlplane.api.server")
    certificate, key = plane.settings.api_tls or (None, None)
    serving = server.serving(app, listening, certificate=certificate, key=key)
    await stack.enter_async_context(serving)
    stack.callback(plane.events.close)


def state_of(settings: Settings) -> Path:
    """The state folder."""
    return (settings.folder / settings.controlplane.state).absolute()


def _bind_api(settings: Settings) -> socket.socket:
    address = settings.controlplane.api
    if not is_loopback(address.host) and settings.api_tls is None:
        raise ApiNotLoopback(address=f"{address.host}:{address.port}")
    return bind(address.host, address.port, what="the API")


def _check_ports(settings: Settings) -> None:
    for name, gateway in settings.gateways.items():
        for listener in gateway.listeners:
            address = listener.address
            check_free(address.host, address.port, what=f'gateway "{name}"')


def _api_url(listening: socket.socket, settings: Settings) -> str:
    """Where programs on this machine reach the API."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "http" if settings.api_tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def run(path: Path, *, debug: bool = False) -> None:
    """`up` in an event loop of its own, with this process's log on standard error."""
    configure_logging(debug=debug)
    gc.disable()  # until everything is loaded: nothing of it is garbage
    # gRPC tells of every process that is started; it need not, none of them uses gRPC.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    loop_factory = None
    with contextlib.suppress(ImportError):
        loop_factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(up(path))

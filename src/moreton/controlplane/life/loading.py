"""Everything known before a proxy is told: the store reached, its cluster joined, all published."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from moreton.controlplane.cluster.joining import Membership, join, reach, shown_url
from moreton.controlplane.following import in_background, keep_following
from moreton.controlplane.life.places import state_of
from moreton.controlplane.settings import Settings
from moreton.controlplane.state_folder import StateFolder
from moreton.envoy.last_good import NoLastGood, start_last_good
from moreton.envoy.supervisor import EnvoySupervisor
from moreton.kernel.errors import MoretonError
from moreton.kernel.time import SystemClock
from moreton.store import Store, is_shared

if TYPE_CHECKING:
    from moreton.controlplane.assembly.plane import Plane
    from moreton.controlplane.quotas.holding import Holdings

GROUP = "moreton"
# What `load` needs; gRPC and protobuf are the most of it.
ASSEMBLY = "moreton.controlplane.assembly.editing"
_CERTIFICATES_SECONDS = 1.0
Follow: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]
_LOG = logging.getLogger("moreton.controlplane")


async def join_shared(
    store: Store, url: str, settings: Settings, folder: StateFolder, binary: Path, *, serves: bool
) -> Membership | None:
    """Be of the cluster in the *store* at *url*; `None` when nobody can share it.

    *serves*: an Envoy runs. If none does while the store is waited for, the last good
    configuration is served. Raises `OtherCluster`, `StoreNotReached`, and the store's errors.
    """
    if not is_shared(url):
        return None
    shown = shown_url(url)

    async def serve_meanwhile() -> bool:
        return serves or await _serve_last_good(settings, binary)

    return await reach(
        lambda: join(store, folder, shown=shown), store=shown, serve_meanwhile=serve_meanwhile
    )


async def _serve_last_good(settings: Settings, binary: Path) -> bool:
    try:
        pid = await start_last_good(
            state_of(settings) / "envoy",
            binary=binary,
            drain_time=settings.envoy.drain_time,
            concurrency=settings.envoy.concurrency,
        )
    except NoLastGood:
        return False
    except MoretonError as error:
        _LOG.warning("the last good configuration cannot be served: %s", error)
        return False
    _LOG.warning("Envoy serves the last good configuration meanwhile, pid %d", pid)
    return True


def _following(plane: Plane, follow: Follow, what: str) -> AbstractAsyncContextManager[None]:
    return in_background(keep_following(follow, what=what, troubles=plane.troubles), name=what)


async def _share_limits(plane: Plane, envoy: EnvoySupervisor, node: str) -> Holdings:
    """The shares of limits of this *node*'s gateways, before a proxy is told of any."""
    from moreton.controlplane.quotas.holding import Holdings  # noqa: PLC0415 - with the rest
    from moreton.controlplane.quotas.proxy import PlaneProxy, held_by  # noqa: PLC0415 - as above

    sharing = Holdings(
        plane.store,
        PlaneProxy(plane, envoy.admin),
        node=node,
        held=lambda: held_by(plane),
        clock=SystemClock(),
        troubles=plane.troubles,
    )
    await sharing.load()
    return sharing


def _follow_files(plane: Plane, state: Path, stack: AsyncExitStack) -> None:
    """Take edits and new certificates; keep what is good in the folder *state*."""
    from moreton.controlplane.assembly.editing import Editor  # noqa: PLC0415 - with the rest
    from moreton.controlplane.assembly.edits import files_of, watch_edits  # noqa: PLC0415 - as above
    from moreton.controlplane.assembly.last_good import keep_last_good  # noqa: PLC0415 - as above

    path = plane.settings.path
    saving = keep_last_good(plane, state / "envoy", group=GROUP)
    editor = Editor(plane)
    # It may have been edited since it was read: a store can take minutes to be reached.
    read = plane.settings.document.prints
    edits = watch_edits(lambda: files_of(path), editor.on_edit, applied=read)
    certificates = watch_edits(
        editor.certificates, editor.on_certificates, seconds=_CERTIFICATES_SECONDS
    )
    for work in (edits, certificates, saving):
        stack.callback(asyncio.create_task(work).cancel)


async def load(
    settings: Settings,
    store: Store,
    binary: Path,
    envoy: EnvoySupervisor,
    stack: AsyncExitStack,
    *,
    waiting: socket.socket,
    node: str,
) -> Plane:
    """Everything known, published, and followed from now on.

    The xDS server listens once everything is published, in place of *waiting*. An Envoy that has
    begun meanwhile tries again, at first after less than 50 ms.
    """
    from moreton.controlplane.assembly.plane import put_together  # noqa: PLC0415 - with gRPC
    from moreton.controlplane.assembly.preflight import preflight_with  # noqa: PLC0415 - as above
    from moreton.envoy.xds import XdsServer  # noqa: PLC0415 - as above

    def on_change() -> None:
        plane.publisher.check_proxies()

    xds = XdsServer(on_change=on_change)
    plane = put_together(settings, store, xds, preflight=preflight_with(binary))
    await plane.discovery.load()
    await plane.follower.load()
    await plane.limit_orders.load()
    plane.apply(settings)
    sharing = await _share_limits(plane, envoy, node)
    # Before a proxy can ask: one that is told of nothing would drop everything.
    plane.publisher.publish_now()
    await xds.start(f"unix:{envoy.xds_socket}")
    waiting.close()
    stack.push_async_callback(xds.stop)
    await stack.enter_async_context(plane.publisher.running())
    await stack.enter_async_context(plane.follower.running())
    await stack.enter_async_context(plane.discovery.running(plane.publisher))
    plane.drains.watch(envoy)
    plane.migrations.watch(envoy.admin)
    await stack.enter_async_context(plane.drains.running())
    instructions, orders = plane.instructions.follow, plane.limit_orders.follow
    await stack.enter_async_context(_following(plane, instructions, "following instructions"))
    await stack.enter_async_context(_following(plane, orders, "following bans"))
    plane.comparisons.node = node
    shares = plane.comparisons.follow
    await stack.enter_async_context(_following(plane, shares, "following comparisons"))
    copying = plane.comparisons.run(plane.compiler, plane.publisher.touch_all)
    await stack.enter_async_context(in_background(copying, name="share copies"))
    await stack.enter_async_context(in_background(plane.ban_keeper.run(), name="keep bans"))
    await stack.enter_async_context(in_background(sharing.run(), name="share limits"))
    _follow_files(plane, state_of(settings), stack)
    return plane

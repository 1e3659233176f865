"""The first words with a shared store: whether it is there, and whether it is the right one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from moreton.controlplane.cluster.errors import OtherCluster, StoreNotReached
from moreton.controlplane.cluster.home import Home
from moreton.controlplane.errors import StateFolderUnusable
from moreton.controlplane.following import BACKOFF, may_pass
from moreton.controlplane.state_folder import StateFolder
from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import SystemClock
from moreton.store import Compare, Put, Range, RangeResult, Store
from moreton.store.errors import StoreError

_LOG = logging.getLogger("moreton.controlplane")
_ID, _TOKEN = b"/moreton/cluster/id", b"/moreton/cluster/token"
# A store that is there answers in milliseconds; after this traffic no longer waits for it.
PATIENCE = timedelta(seconds=3)
# With nothing to serve there is no point in staying: whoever starts us should see that it failed.
WAIT_MAX = timedelta(minutes=1)
_SAY_EVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Membership:
    """A cluster as one of its nodes found it."""

    home: Home
    token: str


async def reach(
    asking: Callable[[], Awaitable[Membership]],
    *,
    store: str,
    serve_meanwhile: Callable[[], Awaitable[bool]],
    wait_max: timedelta = WAIT_MAX,
) -> Membership:
    """What *asking* says once the store, named *store* for people, answers.

    When it does not do so soon, *serve_meanwhile* is called once: whether traffic is served now.
    Then the store is waited for without end, else at most *wait_max*. Raises `StoreNotReached`,
    and at once what waiting does not change.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + wait_max.total_seconds()
    last = ["no answer yet"]
    task = asyncio.ensure_future(_insist(asking, last))
    try:
        if (await asyncio.wait({task}, timeout=PATIENCE.total_seconds()))[0]:
            return task.result()
        _LOG.warning("waiting for the store %s: %s", store, last[0])
        served = await serve_meanwhile()
        while True:
            left = _SAY_EVERY_SECONDS if served else give_up_at - loop.time()
            pause = max(min(left, _SAY_EVERY_SECONDS), 0)
            if (await asyncio.wait({task}, timeout=pause))[0]:
                return task.result()
            if not served and loop.time() >= give_up_at:
                raise StoreNotReached(store=store, after=wait_max, reason=last[0])
            _LOG.warning("still waiting for the store %s: %s", store, last[0])
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _insist(asking: Callable[[], Awaitable[Membership]], last: list[str]) -> Membership:
    failures = 0
    rng = system_rng()
    while True:
        try:
            return await asking()
        except StoreError as error:
            if not may_pass(error):
                raise
            last[0] = str(error)
            failures += 1
            await asyncio.sleep(BACKOFF.seconds(failures, rng))


async def join(store: Store, folder: StateFolder, *, shown: str) -> Membership:
    """Be of the cluster in *store*, which is founded if there is none.

    Raises `OtherCluster` when this node belongs to another, and the store's errors.
    """
    home = Home.read(folder.path)
    read = [Range(_ID), Range(_TOKEN)]
    found = await store.txn([Compare.version(_ID, "=", 0)], read, read)
    if found.succeeded:
        if home.cluster:
            raise _other(home, folder.path, shown, "")
        made = new_id(SystemClock().wall(), system_rng())
        # Its own token, should this be one control plane that is to become several.
        puts = [Put(_ID, made.encode()), Put(_TOKEN, folder.token().encode())]
        found = await store.txn([Compare.version(_ID, "=", 0)], [*puts, *read], read)
    cluster, token = (_text(each) for each in found.results if isinstance(each, RangeResult))
    if home.cluster not in {"", cluster}:
        raise _other(home, folder.path, shown, cluster)
    home = replace(home, cluster=cluster)
    try:
        home.write(folder.path)
    except OSError as error:
        raise StateFolderUnusable(path=folder.path, reason=str(error).lower()) from error
    return Membership(home, folder.take_token(token))


def shown_url(url: str) -> str:
    """*url* without users, passwords and options, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _other(home: Home, folder: Path, shown: str, found: str) -> OtherCluster:
    return OtherCluster(
        store=shown, found=found, expected=home.cluster, file=folder / "cluster.json"
    )


def _text(found: RangeResult) -> str:
    return found.kvs[0].value.decode() if found.kvs else ""

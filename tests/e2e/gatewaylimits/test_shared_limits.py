"""Two nodes over one store, each with its Envoy, that share limits; one control plane is killed.

The limits fill so slowly that nothing comes back meanwhile: what passes at once is the share.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.up.world import DEADLINE_SECONDS, World
from moreton.controlplane.quotas.keys import GRANTS, REPORTS, holder_of
from moreton.ratelimit.quota.core.messages import Grants, Report, decode_grants, decode_report
from moreton.store import Store, open_store, prefix_end
from support.etcd_server import running_etcd
from support.waits import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NAMES = ("a", "b")
BURST = 100
HALF = BURST // 2
SHARED = {"limit": "100/h", "burst": BURST, "scope": "quota"}
LIMITS = {
    "first": {**SHARED, "match": {"paths": "/first"}},
    "later": {**SHARED, "match": {"paths": "/later"}},
    # More than can be asked for meanwhile.
    "closed": {**SHARED, "burst": 100_000, "match": {"paths": "/closed"}, "on_outage": "closed"},
}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Mapping[str, World], str]]:
    """Both, ready, and the store's URL."""
    with running_etcd(tmp_path) as etcd, contextlib.ExitStack() as stack:
        url = etcd.url("shop", timeout="2s")
        worlds = {name: World(tmp_path / name) for name in NAMES}
        for name, world in worlds.items():
            stack.callback(world.end)
            api = {"api": f"127.0.0.1:{world.api_port}", "node": name, "store": url}
            routes = {"all": {"path": "/*", "redirect": {"path": "/there"}}}
            world.write(world.configuration(controlplane=api, routes=routes, limits=LIMITS))
            world.spawn()
        for world in worlds.values():
            world.wait_ready(120)
        yield worlds, url


def passed(world: World, path: str, times: int) -> int:
    """How many of *times* requests for *path* were not refused, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", world.port, timeout=10)
    statuses = []
    for _ in range(times):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert set(statuses) <= {302, 429}
    return statuses.count(302)


async def stored(store: Store) -> tuple[Grants, dict[str, Report]]:
    """What the leader granted, and what the nodes say."""
    granted = await store.range(GRANTS)
    found = await store.range(REPORTS, prefix_end(REPORTS))
    grants = decode_grants(granted.kvs[0].value) if granted.kvs else None
    reports = {holder_of(kv.key): decode_report(kv.value) for kv in found.kvs}
    return grants or Grants(), {name: each for name, each in reports.items() if each}


def granted(url: str) -> int:
    """How often shares were given until now."""

    async def ask() -> int:
        store = open_store(url)
        try:
            return (await stored(store))[0].number
        finally:
            await store.close()

    return asyncio.run(ask())


def wait_held(url: str, shares: Mapping[str, float]) -> None:
    """Until these shares of every limit, by node, are in force and nobody waits for more."""
    wanted = {f"{name}/public": share for name, share in shares.items()}

    async def wait() -> None:
        store = open_store(url)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    grants, reports = await stored(store)
                    holds = {name: dict(each.holds) for name, each in reports.items()}
                    in_force = {name: dict.fromkeys(LIMITS, each) for name, each in wanted.items()}
                    if holds == in_force and dict(grants.shares) == dict.fromkeys(LIMITS, wanted):
                        return
                    await asyncio.sleep(0.1)
        finally:
            await store.close()

    asyncio.run(wait())


def test_two_proxies_share_limits_and_a_killed_control_plane_stops_no_request(
    nodes: tuple[Mapping[str, World], str],
) -> None:
    worlds, url = nodes
    a, b = worlds["a"], worlds["b"]
    wait_held(url, {"a": 0.5, "b": 0.5})
    before = granted(url)
    with ThreadPoolExecutor(2) as pool:
        both = sum(pool.map(lambda world: passed(world, "/first", BURST + HALF), (a, b)))
    assert both <= BURST + HALF
    # On a busy machine shares move meanwhile, and what a node gives up nobody has for a moment.
    assert both >= BURST or granted(url) > before
    assert passed(a, "/closed", 5) == 5

    a.stop(signal.SIGKILL)
    # What is kept goes on; what is lent ends when nobody renews it.
    wait_until(lambda: not passed(a, "/closed", 1), "what was lent to a ends")
    assert passed(a, "/later", HALF + 10) == HALF
    wait_held(url, {"b": 1.0})
    assert passed(b, "/later", BURST + 10) == BURST

    a.spawn()
    a.wait_ready(120)
    wait_held(url, {"a": 0.5, "b": 0.5})
    assert passed(a, "/closed", 5) == 5

"""Three control planes under load: the leader is killed, and no request fails."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from e2e.nodes.world import Nodes
from e2e.up.world import World
from moreton.testing.load import SteadyLoad
from support.waits import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.long]

WEIGHTS = "/v1/routes/everything/weights"


@contextlib.asynccontextmanager
async def under_load(nodes: Nodes) -> AsyncIterator[dict[str, SteadyLoad]]:
    """A load through the Envoy of each node."""
    async with contextlib.AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(
                SteadyLoad(f"http://127.0.0.1:{world.port}/", rate=100.0, connections=2)
            )
            for name, world in nodes.worlds.items()
        }


async def waiting(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what)


def serves(world: World, label: str) -> Callable[[], bool]:
    return lambda: world.ask() == (200, label)


def another_leads(nodes: Nodes, name: str, dead: str) -> Callable[[], bool]:
    return lambda: nodes.leader(name) not in {None, dead}


async def kill_the_leader(nodes: Nodes, number: int) -> int:
    """Kill it, change weights at a survivor, bring it back; the new leader's token."""
    label = "ab"[number % 2]
    dead = await asyncio.to_thread(nodes.leader, "abc"[number % 3])
    assert dead is not None
    survivors = nodes.survivors(dead)
    envoys = {name: nodes.worlds[name].envoy_pid() for name in nodes.worlds}
    await asyncio.to_thread(nodes.worlds[dead].stop, signal.SIGKILL)
    weights = {each: int(each == label) for each in "ab"}
    api = nodes.api(survivors[number % 2])
    await asyncio.to_thread(api.call, "PUT", WEIGHTS, weights)
    for name in survivors:
        world = nodes.worlds[name]
        await waiting(serves(world, label), f"{name} has the weights")
    async with asyncio.TaskGroup() as tasks:  # which takes the leader's time to live
        tasks.create_task(asyncio.to_thread(nodes.worlds[dead].start))
        for name in survivors:
            what = f"{name} has another leader than {dead}"
            tasks.create_task(waiting(another_leads(nodes, name, dead), what))
    world = nodes.worlds[dead]
    await waiting(serves(world, label), f"{dead} has the weights, too")
    assert {name: nodes.worlds[name].envoy_pid() for name in nodes.worlds} == envoys
    token = nodes.document(survivors[0])["token"]
    assert isinstance(token, int)
    return token


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.soak)])
async def test_no_request_fails_while_leaders_are_killed(nodes_on_raft: Nodes, kills: int) -> None:
    await kill_leaders(nodes_on_raft, kills=kills)


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.soak)])
async def test_no_request_fails_while_leaders_over_etcd_are_killed(
    nodes: Nodes, kills: int
) -> None:
    await kill_leaders(nodes, kills=kills)


async def kill_leaders(nodes: Nodes, *, kills: int) -> None:
    await asyncio.to_thread(nodes.start)
    async with under_load(nodes) as loads:
        tokens = [await kill_the_leader(nodes, number) for number in range(kills)]
    assert tokens == sorted(set(tokens)), "each term has a larger token"
    for name, load in loads.items():
        report = load.report
        assert report.requests > 100 * kills, name
        assert report.failures == 0, (name, report.outcomes)
        assert report.resets + report.closes == 0, name
        assert min(report.labels["a"], report.labels["b"]) > 0, name

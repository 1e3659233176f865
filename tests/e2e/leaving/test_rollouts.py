from __future__ import annotations

import asyncio
import os
import signal

import pytest

from e2e.leaving.world import (
    ROLLOUT_SECONDS_MAX,
    Fleet,
    children,
    document,
    finish,
    nothing_lost,
)
from support.waits import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TWENTY = tuple(f"s{number:02}" for number in range(20))


@pytest.fixture(scope="module")
def twenty(fleet: Fleet) -> Fleet:
    fleet.run(*TWENTY)
    return fleet


async def restart(fleet: Fleet, *options: str) -> tuple[int, str]:
    command = fleet.command("rollout", "restart", "shop", "--json", *options)
    return await asyncio.to_thread(finish, command, ROLLOUT_SECONDS_MAX)


@pytest.mark.long
async def test_rolling_restart_of_twenty_instances_loses_no_request(twenty: Fleet) -> None:
    before = twenty.pids()
    async with twenty.load() as load:
        status, said = await restart(twenty, "--batch", "3")
        await load.wait_requests(load.report.requests + 50)
    assert status == 0, said
    found = document(said)
    assert (found["state"], found["done"], found["total"]) == ("done", 20, 20)
    nothing_lost(load.report)
    after = twenty.pids()
    assert after.keys() == before.keys()
    assert not [name for name in after if after[name] == before[name]], "each was started anew"


@pytest.mark.soak
async def test_ten_rolling_restarts_of_twenty_instances_lose_no_request(twenty: Fleet) -> None:
    async with twenty.load() as load:
        for _ in range(10):
            before = twenty.pids()
            status, said = await restart(twenty)
            assert status == 0, said
            assert len(twenty.came_back(before)) == 20
            leaving = twenty.runners[TWENTY[-1]]
            leaving.process.terminate()
            await asyncio.to_thread(leaving.wait)
            await asyncio.to_thread(twenty.run, TWENTY[-1])
    nothing_lost(load.report)


async def test_instances_that_are_drained_or_stopped_lose_no_request(twenty: Fleet) -> None:
    leaving = TWENTY[:4]
    async with twenty.load() as load:
        drain = twenty.command("drain", leaving[0], "--reason", "new disk")
        for name in leaving[1:3]:
            twenty.runners[name].process.terminate()
        twenty.runners[leaving[3]].process.send_signal(signal.SIGINT)
        status, said = await asyncio.to_thread(finish, drain)
        assert status == 0, said
        assert f'"{leaving[0]}" is drained and stopped' in said
        ended = [await asyncio.to_thread(twenty.runners[name].wait) for name in leaving]
        await load.wait_requests(load.report.requests + 50)
    assert ended[:3] == [128 + signal.SIGTERM] * 3
    nothing_lost(load.report)
    assert not set(leaving) & set(twenty.states())
    kinds = {each["kind"] for each in twenty.events() if each["id"] == leaving[0]}
    assert {"order-set", "drained", "left"} <= kinds


async def test_rollout_goes_on_when_its_control_plane_was_killed(twenty: Fleet) -> None:
    names = sorted(twenty.serving())
    before = twenty.pids()
    async with twenty.load(50.0) as load:
        command = twenty.command("rollout", "restart", "shop", "--batch", "4", "--json")
        await asyncio.to_thread(
            wait_until, lambda: twenty.came_back(before), "one came back", ROLLOUT_SECONDS_MAX
        )
        assert twenty.world.child is not None
        twenty.world.child.kill()
        twenty.world.child.wait(30)
        await asyncio.to_thread(twenty.world.start)
        status, said = await asyncio.to_thread(finish, command, ROLLOUT_SECONDS_MAX)
    assert status == 0, said
    assert document(said)["done"] == len(names)
    nothing_lost(load.report)
    after = twenty.pids()
    assert not [name for name in names if after[name] == before[name]]


async def test_rollout_stops_at_the_first_that_does_not_come_back_and_goes_on(
    twenty: Fleet,
) -> None:
    names = sorted(twenty.serving())
    broken = names[1]
    mark = twenty.world.folder / f"broken-{broken}"
    mark.touch()
    before = twenty.pids()
    async with twenty.load(50.0) as load:
        status, said = await restart(twenty)
        assert status == 1, said
        assert f'instance "{broken}" did not come back: the program ended with status 9' in said
        assert "go on with `moreton rollout restart shop`" in said
        untouched = twenty.pids()
        assert untouched[names[2]] == before[names[2]]
        assert broken not in untouched
        assert await asyncio.to_thread(twenty.runners[broken].wait) == 9
        mark.unlink()
        await asyncio.to_thread(twenty.run, broken)
        shown = document(twenty.world.run("rollout", "status", "shop", "--json").stdout)
        assert (shown["state"], shown["done"]) == ("stopped", 1)
        status, said = await restart(twenty, "--batch", "5")
    assert status == 0, said
    assert f"going on: 1 of {len(names)} were started anew before" in said
    nothing_lost(load.report)
    after = twenty.pids()
    assert after[names[0]] == untouched[names[0]], "the first one was done before"
    assert after[names[2]] != before[names[2]]


async def test_rollout_that_is_interrupted_goes_on_where_it_was(twenty: Fleet) -> None:
    before = twenty.pids()
    command = twenty.command("rollout", "restart", "shop")
    await asyncio.to_thread(wait_until, lambda: twenty.came_back(before), "one came back", 60.0)
    command.send_signal(signal.SIGINT)
    status, said = await asyncio.to_thread(finish, command)
    assert status == 130
    assert "go on with `moreton rollout restart shop`" in said
    done = document(twenty.world.run("rollout", "status", "shop", "--json").stdout)
    assert 1 <= done["done"] < done["total"]
    abandoned = twenty.world.run("rollout", "abandon", "shop")
    assert abandoned.returncode == 0, abandoned.stderr
    again = twenty.world.run("rollout", "abandon", "shop")
    assert again.returncode == 5
    assert "has no rollout under way" in again.stderr
    wait_until(lambda: len(twenty.serving()) == done["total"], "the one under way came back")


def test_rollout_says_who_died_when_a_runner_is_killed_in_the_middle(twenty: Fleet) -> None:
    name = min(twenty.serving())
    held = twenty.hold(8, at=name)
    command = twenty.command("rollout", "restart", "shop", "--timeout", "4s")
    wait_until(lambda: twenty.states().get(name) == "draining", "it drains")
    runner = twenty.runners[name]
    runner.process.kill()
    for pid in children(runner.process.pid):
        os.kill(pid, signal.SIGKILL)
    status, said = finish(command)
    held.wait()
    assert status == 1
    assert f'instance "{name}" did not come back' in said
    assert twenty.world.run("rollout", "abandon", "shop").returncode == 0

"""The service beside `moreton up` outlives both kinds of kill, and goes when nobody needs it."""

from __future__ import annotations

import os
import signal

import pytest

from e2e.up.world import World
from moreton.envoy.identity import ProcessIdentity, read_identity
from support.waits import wait_until

# Short siblings: tests/e2e/ratelimit/rls.
pytestmark = [pytest.mark.e2e, pytest.mark.soak]

RULE = {"match": {"paths": "/api/*"}, "by": "address", "scope": "exact", "limit": "3/d"}


def service(world: World) -> ProcessIdentity | None:
    return read_identity(world.folder / ".moreton" / "limits.json")


def statuses(world: World, count: int) -> list[int]:
    return [world.ask("/api/x")[0] for _ in range(count)]


def test_counts_hold_through_kills_of_the_service_and_of_the_control_plane(world: World) -> None:
    world.write(world.configuration(limits={"api": RULE}))
    world.start()
    # Until the service answers everything passes, and is not counted.
    wait_until(lambda: 429 in statuses(world, 4), "the limit holds")
    first = service(world)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: service(world) not in {None, first}, "another service runs")
    wait_until(lambda: statuses(world, 1) == [429], "it knows what was counted")
    second = service(world)
    assert world.child is not None
    world.child.kill()
    world.child.wait(30)
    assert statuses(world, 3) == [429] * 3
    world.start()
    assert service(world) == second
    assert statuses(world, 3) == [429] * 3
    assert wait_until(
        lambda: '"refused"' in world.run("limits", "top", "--json").stdout, "it tells who asked"
    )
    world.write(world.configuration())
    wait_until(lambda: service(world) is None, "nothing needs it any more")
    assert statuses(world, 3) == [200] * 3
    world.write(world.configuration(limits={"api": RULE}))
    wait_until(lambda: 429 in statuses(world, 1), "the limit holds again")
    assert world.stop() == 0
    assert service(world) is None


def test_the_service_goes_on_where_envoy_does(world: World) -> None:
    world.write(world.configuration(limits={"api": RULE}))
    world.start()
    wait_until(lambda: 429 in statuses(world, 4), "the limit holds")
    before = service(world)
    assert world.stop(signal.SIGHUP) == 0
    assert service(world) == before
    assert statuses(world, 3) == [429] * 3
    world.start()
    assert world.stop() == 0
    assert service(world) is None


def test_a_drop_that_cannot_be_is_refused(world: World) -> None:
    world.write(world.configuration(limits={"api": {**RULE, "verdict": "drop"}}))
    told = world.run("check")
    assert told.returncode == 3
    assert "it ends no connection" in told.stderr + told.stdout

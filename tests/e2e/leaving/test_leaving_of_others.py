"""Programs that register themselves, and those of `run:` in moreton.yaml."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.leaving.world import TINY, Fleet, document, finish, nothing_lost
from e2e.up.world import DEADLINE_SECONDS, World, world_in
from support.waits import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# Registers by itself, and has no handler for SIGTERM: what is under way when it comes is lost.
ITSELF = """
import asyncio, sys
import moreton.registry
sys.argv = ["tiny", sys.argv[1], "itself"]
moreton.registry.register("shop", port=int(sys.argv[1]), id="itself")
exec(compile(open({tiny!r}).read(), "tiny", "exec"), {{"__name__": "__main__"}})
"""


@pytest.fixture
def itself(fleet: Fleet) -> Iterator[subprocess.Popen[bytes]]:
    script = fleet.world.folder / "itself.py"
    script.write_text(ITSELF.format(tiny=str(TINY)))
    from support.ports import free_port  # noqa: PLC0415 - only here

    program = subprocess.Popen(
        [sys.executable, str(script), str(free_port())], cwd=fleet.world.folder
    )
    wait_until(lambda: fleet.states().get("itself") == "serving", "it serves")
    yield program
    program.kill()
    program.wait(DEADLINE_SECONDS)


async def test_program_that_registered_itself_gets_sigterm_when_nothing_is_under_way(
    fleet: Fleet, itself: subprocess.Popen[bytes]
) -> None:
    fleet.run("other")
    pid = str(itself.pid)
    await asyncio.to_thread(wait_until, lambda: fleet.world.ask()[1] == pid, "it is sent requests")
    held = fleet.hold(8, at="itself")
    async with fleet.load() as load:
        itself.terminate()
        drains = lambda: fleet.states().get("itself") == "draining"  # noqa: E731
        await asyncio.to_thread(wait_until, drains, "it drains")
        held.release()
        status = await asyncio.to_thread(itself.wait, DEADLINE_SECONDS)
        await load.wait_requests(load.report.requests + 30)
    assert status == -signal.SIGTERM
    assert set(held.wait()) == {200}
    nothing_lost(load.report)
    assert "itself" not in fleet.states()


def test_drain_leaves_a_program_running_that_nobody_here_started(
    fleet: Fleet, itself: subprocess.Popen[bytes]
) -> None:
    done = fleet.world.run("drain", "itself", "--force")
    assert done.returncode == 0, done.stderr
    assert '"itself" is drained: nothing is sent to it' in done.stdout
    assert itself.poll() is None
    assert fleet.world.run("drain", "itself", "--undo").returncode == 0
    refused = fleet.world.run("rollout", "restart", "shop")
    assert refused.returncode == 5
    assert "itself registered without `moreton run`" in refused.stderr


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[World]:
    """A service that `moreton up` runs by itself."""
    with world_in(tmp_path / "shop") as world:
        command = f"{sys.executable} -E -S {TINY} {{port}} x"
        services = {"shop": {"run": {"command": command, "port": "auto"}}}
        routes = {"everything": {"path": "/*", "to": "shop", "timeout": "5m"}}
        world.write(world.configuration(services=services, routes=routes))
        world.start()
        wait_until(lambda: world.ask()[0] == 200, "the program answers")
        yield world


def test_rollout_starts_what_moreton_yaml_runs_anew(shop: World) -> None:
    before = shop.ask()[1]
    refused = shop.run("rollout", "restart", "shop")
    assert refused.returncode == 1
    assert '"run-shop" is the last that serves' in refused.stderr
    fleet = Fleet(shop)
    status, said = finish(fleet.command("rollout", "restart", "shop", "--force", "--json"))
    assert status == 0, said
    assert document(said)["done"] == 1
    wait_until(lambda: shop.ask()[0] == 200, "it is sent requests again")
    assert shop.ask()[1] != before
    stopped = shop.run("drain", "run-shop", "--force")
    assert stopped.returncode == 1
    assert "take its `run:` out to stop it" in stopped.stderr
    assert shop.run("drain", "run-shop", "--undo").returncode == 0


def test_program_of_moreton_yaml_comes_back_when_its_control_plane_was_killed_over_it(
    shop: World,
) -> None:
    before = shop.ask()[1]
    fleet = Fleet(shop)
    held = fleet.hold(2, at="run-shop")
    command = fleet.command("rollout", "restart", "shop", "--force", "--json")
    wait_until(lambda: fleet.states().get("run-shop") == "draining", "it drains")
    assert shop.child is not None
    os.kill(shop.child.pid, signal.SIGKILL)
    shop.child.wait(30)
    shop.start()
    held.release()
    status, said = finish(command, 60.0)
    assert status == 0, said
    assert held.wait() == [200, 200]
    wait_until(lambda: shop.ask()[0] == 200, "it is sent requests again")
    assert shop.ask()[1] != before

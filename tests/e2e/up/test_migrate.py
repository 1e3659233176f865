"""A route moves by proof behind a real Envoy, comes back by itself, and survives kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from e2e.up.world import World
from moreton.testing.load import SteadyLoad
from support.ports import free_port
from support.receiver import Receiver
from support.waits import wait_until

SECRET = "a secret of the test that is long"
pytestmark = pytest.mark.e2e


class Candidate:
    """A new service that fails once it is told to, and remembers when it was asked."""

    def __init__(self) -> None:
        self.failing = False
        self.asked: list[float] = []
        self.failed: list[float] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append(time.monotonic())
                if outer.failing:
                    outer.failed.append(time.monotonic())
                self.send_response(500 if outer.failing else 200)
                self.send_header("content-length", "0")
                self.send_header("x-side", "b")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def candidate() -> Iterator[Candidate]:
    made = Candidate()
    yield made
    made.stop()


def prepare(
    world: World, candidate: Candidate, *stages: Any, tolerance: str = "20%", **more: Any
) -> None:
    """Route everything from a to the candidate, in *stages*, with a gate on errors."""
    services = {
        "a": {"addresses": [world.backend("a")]},
        "b": {"addresses": [candidate.address]},
    }
    migration = {
        "route": "everything",
        "from": "a",
        "to": "b",
        "stages": [*stages],
        "hold": "0",
        "requests": 0,
        "soak": "0",
        "answer_within": "0",
        "gates": {"errors": {"tolerance": tolerance}, "latency": None},
        **more,
    }
    world.write(world.configuration(services=services, migrations={"move": migration}))
    world.start()


def shown(world: World) -> dict[str, Any]:
    """How far it is."""
    found = world.api.get("/v1/migrations/move")
    assert isinstance(found, dict)
    return found


def weights(world: World) -> dict[str, int]:
    """The weights in force."""
    found = world.api.get("/v1/routes/everything/weights")["weights"]
    assert isinstance(found, dict)
    return found


async def until(condition: Callable[[], Any], what: str) -> Any:
    """As `wait_until`, while a load goes on."""
    return await asyncio.to_thread(wait_until, condition, what)


def load_on(world: World, rate: float) -> SteadyLoad:
    """So many requests a second at the gateway."""
    return SteadyLoad(f"http://127.0.0.1:{world.port}/", rate=rate, connections=4)


async def test_migration_goes_on_after_kill_and_takes_itself_back_while_a_gate_waits(
    world: World, candidate: Candidate
) -> None:
    port = free_port()
    hook = {
        "url": f"http://127.0.0.1:{port}/hook",
        "secret": SECRET,
        "backoff": {"initial": "50ms", "cap": "100ms"},
    }
    stages = {"share": "50%", "manual": True}, "100%"
    prepare(world, candidate, *stages, webhooks={"chat": hook})
    async with load_on(world, 50.0):
        started = await asyncio.to_thread(world.run, "migrate", "start", "move", "--json")
        assert started.returncode == 0, started.stderr
        assert json.loads(started.stdout)["share"] == 0.5
        await until(lambda: candidate.asked, "the candidate is asked")
        await asyncio.to_thread(world.stop, signal.SIGKILL)
        await asyncio.to_thread(world.start)
        assert weights(world) == {"a": 50, "b": 50}
        ready = ["somebody to let it go on"]
        await until(lambda: shown(world)["waits_for"] == ready, "the gate on errors passes")
        candidate.failing = True
        await until(lambda: shown(world)["phase"] == "rolled-back", "it is taken back")
        assert candidate.failed, "nothing failed"
        await until(lambda: world.ask() == (200, "a") and quiet(candidate), "nobody asks it")
    assert weights(world) == {"a": 100, "b": 0}
    watched = world.run("migrate", "watch", "move")
    assert watched.returncode != 0
    assert "started by" in watched.stdout
    assert "rolled back by gates, stage 50%, share 0%: errors: " in watched.stdout
    refused = world.run("migrate", "rollback", "move")
    assert 'migration "move" is rolled-back: nothing was done' in refused.stderr
    webhook_was_told(world, port)
    report_tells_it(world)


def webhook_was_told(world: World, port: int) -> None:
    """Its receiver is up only now: what happened before the kill is told as well."""
    waits = shown(world)["webhooks"][0]
    assert (waits["delivered"], waits["waiting"]) == (0, 2)
    receiver = Receiver(port=port)
    try:
        wait_until(lambda: receiver.kinds() == ["started", "rolled-back"], "it is told")
        for each in receiver.received:
            assert Verifier(SECRET.encode()).verify(each.body, each.headers) == each.event
        wait_until(lambda: not shown(world)["webhooks"][0]["waiting"], "it is known")
    finally:
        receiver.stop()
    said = world.run("migrate", "status", "move").stdout
    assert f"webhook chat (http://127.0.0.1:{port}): 2 delivered, the last at " in said


def report_tells_it(world: World) -> None:
    """By order in every format, and by itself in the state folder."""
    assert world.run("migrate", "report", "move", "--out", "r.html").returncode == 0
    page = (world.folder / "r.html").read_text()
    assert "Taken back: a answers all of everything." in page
    assert '<polyline class="new"' in page, "what was seen is gone with the control plane"
    found = world.api.get("/v1/migrations/move/report")
    assert [each["kind"] for each in found["incidents"]] == ["rolled-back"]
    assert found["candidate"]["requests"] > 20
    assert world.run("migrate", "report", "move", "--out", "r.md").returncode == 0
    assert "![move over time](r.svg)" in (world.folder / "r.md").read_text()
    assert (world.folder / "r.svg").read_text().startswith("<svg ")
    file = wait_until(lambda: shown(world)["report"], "it is written")
    assert "Taken back: a answers all" in Path(file).read_text()


def quiet(candidate: Candidate) -> bool:
    """Whether nobody asked it for a moment."""
    return time.monotonic() - candidate.asked[-1] > 0.5


@pytest.mark.soak
async def test_each_stage_is_the_same_after_a_kill_and_the_end_is_everything(
    world: World, candidate: Candidate
) -> None:
    stages = [{"share": share, "manual": True} for share in ("10%", "25%", "100%")]
    prepare(world, candidate, *stages)
    async with load_on(world, 200.0) as load:
        world.run("migrate", "start", "move")
        for number, share in enumerate((0.1, 0.25, 1.0), start=1):
            await asyncio.to_thread(world.stop, signal.SIGKILL)
            await asyncio.to_thread(world.start)
            found = shown(world)
            assert (found["stage"]["number"], found["share"]) == (number, share)
            await asyncio.to_thread(world.run, "migrate", "advance", "move")
            await until(lambda: is_done(world) or is_after(world, number), "it goes on")  # noqa: B023
    assert is_done(world)
    assert weights(world) == {"a": 0, "b": 100}
    assert load.report.failures == 0


def is_after(world: World, number: int) -> bool:
    """Whether it is in a stage after *number*."""
    return bool(shown(world)["stage"]["number"] > number)


def is_done(world: World) -> bool:
    """Whether it is over, with everything moved."""
    return bool(shown(world)["phase"] == "done")


@pytest.mark.soak
async def test_broken_candidate_gets_its_last_request_within_three_seconds(
    world: World, candidate: Candidate
) -> None:
    prepare(world, candidate, {"share": "10%", "manual": True}, "100%", tolerance="1%")
    async with load_on(world, 50.0):
        world.run("migrate", "start", "move")
        await until(lambda: len(candidate.asked) > 20, "the candidate is asked")
        candidate.failing = True
        await until(lambda: shown(world)["phase"] == "rolled-back", "it is taken back")
        await until(lambda: quiet(candidate), "nobody asks it")
    assert candidate.failed[-1] - candidate.failed[0] <= 3.0


class User:
    """Somebody who asks, with the cookies of a browser; *sides* are the services that answered."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cookie = ""
        self.sides: list[str] = []

    def ask(self) -> None:
        """Ask once."""
        connection = http.client.HTTPConnection("127.0.0.1", self._world.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/", headers={"cookie": self.cookie} if self.cookie else {})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            if given := answer.getheader("set-cookie"):
                assert not self.cookie, "a user who has a cookie got another"
                self.cookie = given.partition(";")[0]
            side = "b" if answer.getheader("x-side") == "b" else "a"
        if not self.sides or self.sides[-1] != side:
            self.sides.append(side)


@pytest.mark.soak
def test_users_change_sides_once_at_most_over_all_steps(world: World, candidate: Candidate) -> None:
    stages = [{"share": share, "manual": True} for share in ("20%", "60%", "100%")]
    prepare(world, candidate, *stages)
    users = [User(world) for _ in range(30)]
    assert world.run("migrate", "start", "move").returncode == 0
    moved = []
    for number in range(1, 4):
        for _ in range(3):
            for user in users:
                user.ask()
        moved.append(sum(user.sides[-1] == "b" for user in users))
        if number < 3:
            wait_until(lambda: can_go_on(world), "the gate passes")
            assert world.run("migrate", "advance", "move").returncode == 0
            wait_until(lambda: is_after(world, number), "it goes on")  # noqa: B023
    assert moved[0] < moved[1] < moved[2] == len(users)
    assert [user for user in users if len(user.sides) > 2 or user.sides[-1] != "b"] == []
    counted = shown(world)["candidate"]["requests"]
    assert counted <= 3 * len(users), "what it answered in other stages was counted"


def can_go_on(world: World) -> bool:
    """Whether nothing but somebody is waited for."""
    for _ in range(20):
        world.ask()
    return bool(shown(world)["waits_for"] == ["somebody to let it go on"])

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from e2e.leaving.world import Fleet, children, document, finish, nothing_lost
from support.waits import line_of, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NAMES = ("d0", "d1", "d2")


@pytest.fixture
def three(fleet: Fleet) -> Iterator[Fleet]:
    """Three instances that serve, whatever the test before did."""
    missing = [name for name in NAMES if name not in fleet.states()]
    fleet.run(*missing)
    yield fleet
    for name in NAMES:
        if fleet.states().get(name) not in {None, "serving"}:
            fleet.world.run("drain", name, "--undo")
            fleet.world.run("instances", "maintenance", name, "--end")
    wait_until(lambda: set(fleet.states().values()) <= {"serving"}, "they serve again")


def under_way(fleet: Fleet, name: str) -> int:
    """How many requests Envoy has under way there."""
    place = f"/v1/services/shop/instances/{name}/drain"
    return int(fleet.world.api.get(place)["requests"] or 0)


def waits(command: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """*command*, once it says that it waits for requests under way."""
    assert command.stderr is not None
    while "waiting for requests under way" not in (
        line := line_of(command.stderr, "that it waits")
    ):
        assert line, "it ended before"
    return command


def test_sigterm_lets_a_slow_request_end_before_the_program_is_told(three: Fleet) -> None:
    held = three.hold(9, at="d0")
    runner = three.runners["d0"]
    program = children(runner.process.pid)
    runner.process.terminate()
    wait_until(lambda: three.states().get("d0") == "draining", "it says that it leaves")
    assert children(runner.process.pid) == program, "it serves what is under way"
    held.release()
    assert runner.wait() == 128 + signal.SIGTERM
    assert set(held.wait()) == {200}
    assert "not waiting" not in runner.said()


def test_sigterm_waits_no_longer_than_it_is_told_to(three: Fleet) -> None:
    three.run("short", options=["--drain-timeout", "300ms"])
    pid = str(three.pids()["short"])
    wait_until(lambda: three.world.ask()[1] == pid, "it is sent requests")
    held = three.hold(8, at="short")
    runner = three.runners["short"]
    runner.process.terminate()
    runner.wait()
    assert "not waiting for requests under way" in runner.said()
    assert set(held.wait()) - {200}, "what was still under way there was lost"


def test_drain_says_what_it_waits_for_and_goes_on_by_the_same_command(three: Fleet) -> None:
    held = three.hold(9, at="d0")
    first = three.world.run("drain", "d0", "--timeout", "500ms")
    assert first.returncode == 1
    assert "still waiting for requests under way, " in first.stderr
    assert three.states()["d0"] == "draining"
    second = waits(three.command("drain", "d0", "--json"))
    held.release()
    status, said = finish(second)
    assert status == 0, said
    found = document(said)
    assert (found["idle"], found["requests"], found["stopped"]) == (True, 0, True)
    assert set(held.wait()) == {200}
    assert three.runners["d0"].wait() == 128 + signal.SIGTERM


def test_drain_that_was_killed_can_be_taken_back_or_gone_on_with(three: Fleet) -> None:
    held = three.hold(9, at="d0")
    killed = three.command("drain", "d0")
    wait_until(lambda: three.states()["d0"] == "draining", "it drains")
    killed.kill()
    undone = three.world.run("drain", "d0", "--undo")
    assert undone.returncode == 0, undone.stderr
    assert three.states()["d0"] == "serving"
    killed = three.command("drain", "d0")
    wait_until(lambda: three.states()["d0"] == "draining", "it drains")
    killed.kill()
    done = waits(three.command("drain", "d0"))
    held.release()
    status, said = finish(done)
    assert status == 0, said
    assert set(held.wait()) == {200}
    assert "d0" not in three.states()


async def test_two_drains_of_one_instance_are_one(three: Fleet) -> None:
    held = three.hold(9, at="d0")
    async with three.load() as load:
        commands = [three.command("drain", "d0") for _ in range(2)]
        both = [await asyncio.to_thread(waits, each) for each in commands]
        held.release()
        ended = [await asyncio.to_thread(finish, each) for each in both]
    assert [status for status, _ in ended] == [0, 0], ended
    assert three.runners["d0"].said().count("told by") == 1, "it was told to stop once"
    nothing_lost(load.report)
    assert set(held.wait()) == {200}


def test_drain_names_the_proxy_that_does_not_answer_and_ends(three: Fleet) -> None:
    envoy = three.world.envoy_pid()
    os.kill(envoy, signal.SIGSTOP)
    try:
        stuck = three.world.run("drain", "d0", "--timeout", "1s")
    finally:
        os.kill(envoy, signal.SIGCONT)
    assert stuck.returncode == 1
    assert "still waiting for proxy moreton-" in stuck.stderr
    assert "to acknowledge that nothing is sent to it" in stuck.stderr
    again = three.world.run("drain", "d0", "--keep-running")
    assert again.returncode == 0, again.stderr
    assert three.runners["d0"].process.poll() is None
    assert three.world.run("drain", "d0", "--undo").returncode == 0


def test_sigterm_ends_although_a_proxy_does_not_answer(three: Fleet) -> None:
    three.run("stuck", options=["--drain-timeout", "1s", "--grace", "0"])
    envoy = three.world.envoy_pid()
    os.kill(envoy, signal.SIGSTOP)
    try:
        three.runners["stuck"].process.terminate()
        assert three.runners["stuck"].wait() == 128 + signal.SIGTERM
    finally:
        os.kill(envoy, signal.SIGCONT)
    assert "not waiting for proxy moreton-" in three.runners["stuck"].said()


def test_last_instance_is_refused_with_the_reason(three: Fleet) -> None:
    for name in ("d0", "d1"):
        resting = three.world.run("instances", "maintenance", name, "--reason", "new disk")
        assert resting.returncode == 0, resting.stderr
    refused = three.world.run("drain", "d2")
    assert refused.returncode == 5
    assert '"d2" is the last of service "shop" that serves; 2 maintenance' in refused.stderr
    assert three.world.ask()[0] == 200
    forced = three.world.run("drain", "d2", "--force", "--keep-running")
    assert forced.returncode == 0, forced.stderr
    assert three.world.ask()[0] == 503
    rollout = three.world.run("rollout", "restart", "shop")
    assert rollout.returncode == 0, "what serves nobody may be started anew"


def test_listing_says_who_registered_what_and_why_it_is_out(three: Fleet) -> None:
    assert three.world.run("instances", "maintenance", "d1").returncode == 2
    three.world.run("instances", "maintenance", "d1", "--reason", "new disk")
    listed = three.world.run("instances", "shop").stdout
    first = next(line for line in listed.splitlines() if " d1 " in line)
    assert "maintenance ordered by" in first
    assert "new disk" in first
    assert "3 instances: 2 serving, 1 maintenance" in listed
    found = json.loads(three.world.run("instances", "--state", "maintenance", "--json").stdout)
    assert [(each["id"], each["source"]) for each in found] == [("d1", "run")]
    assert found[0]["last_heartbeat"] is not None
    assert "none of 3 instances" in three.world.run("instances", "--zone", "nowhere").stdout
    services = three.world.run("services").stdout
    assert "instances: 2 serving, 1 maintenance" in services
    alone = json.loads(three.world.run("services", "shop", "--json").stdout)
    assert alone["states"] == {"serving": 2, "maintenance": 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_tells_each_change_and_ends_well(three: Fleet, number: signal.Signals) -> None:
    watching = three.command("watch", "shop")
    assert watching.stdout is not None
    assert "3 instances of 1 services: 3 serving" in line_of(watching.stdout, "what changed")
    three.world.run("instances", "maintenance", "d1", "--reason", "new disk")
    assert "shop d1 is maintenance: maintenance ordered by" in line_of(
        watching.stdout, "what changed"
    )
    watching.send_signal(number)
    status, _ = finish(watching)
    assert status == 0


def test_events_follow_what_happens_as_documents(three: Fleet) -> None:
    # Longer ago than a busy machine takes to start the command.
    following = three.command("events", "--since", "5m", "--follow", "--json")
    three.world.run("instances", "maintenance", "d1", "--reason", "older memory")
    assert following.stdout is not None
    while True:
        event = json.loads(line_of(following.stdout, "an event"))
        if event["kind"] == "order-set" and event["why"] == "maintenance: older memory":
            break
    assert (event["service"], event["id"]) == ("shop", "d1")
    assert "@" in event["by"]
    following.send_signal(signal.SIGTERM)
    assert finish(following)[0] == 0
    table = three.world.run("events", "--service", "shop").stdout
    assert "older memory" in table
    assert "nothing happened within" in three.world.run("events", "--service", "other").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["drain", "nobody"], 5, 'no instance "nobody" is registered'),
        (["drain", "d"], 5, 'did you mean "d'),
        (["drain", "d0", "--timeout", "soon"], 2, "is not a duration"),
        (["drain", "d0", "--service", "other"], 5, "no instance"),
        (["rollout", "restart", "nobody"], 5, 'service "nobody" has no registered instance'),
        (["rollout", "restart", "shop", "--batch", "0"], 2, "--batch"),
        (["rollout", "status", "Not_A_Name"], 5, "is not valid"),
        (["events", "--since", "soon"], 2, "is not a duration"),
        (["watch", "Not_A_Name"], 5, "is not valid"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(
    three: Fleet, arguments: list[str], status: int, words: str
) -> None:
    said = three.world.run(*arguments)
    assert said.returncode == status, said.stderr
    assert words in " ".join(said.stderr.replace("│", " ").split())
    assert "Traceback" not in said.stderr

"""Instances that die, hang and come back, behind a real Envoy and under load."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from e2e.health.ward import Ward
from moreton.testing import LoadReport, SteadyLoad
from support.waits import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KIND = {"kind": "persistent"}


async def under_load(ward: Ward, path: str, act: object) -> tuple[LoadReport, float]:
    """What a steady load saw while *act* was done in a thread, and what that returned."""
    url = f"http://127.0.0.1:{ward.world.port}{path}"
    async with SteadyLoad(url, rate=100, connections=4) as load:
        await load.wait_requests(50)
        took: float = await asyncio.to_thread(act)  # type: ignore[arg-type]
        await load.wait_requests(load.report.requests + 50)
    return load.report, took


def checked(ward: Ward, count: int) -> list[int]:
    ward.forget("checked")
    ports = [ward.start() for _ in range(count)]
    for port in ports:
        ward.register(port, **KIND)
    ward.wait_in_proxy("checked", set(ports))
    return ports


async def test_killed_instance_is_out_of_the_proxy_in_time_by_its_checks(ward: Ward) -> None:
    ports = await asyncio.to_thread(checked, ward, 4)
    for victim in ports[:2]:
        left = set(ports) - {victim}
        ports = sorted(left)

        def kill(victim: int = victim, left: set[int] = left) -> float:
            killed = ward.signal(signal.SIGKILL, victim)
            return ward.wait_in_proxy("checked", left) - killed

        report, took = await under_load(ward, "/checked/x", kill)
        assert took <= 5  # the long run below holds it to what is promised
        assert report.outcomes == {"200": report.requests}, "retries hide it"


@pytest.mark.soak
async def test_killed_instances_are_out_of_the_proxy_in_time_however_often(ward: Ward) -> None:
    times = []
    for _ in range(30):
        ports = await asyncio.to_thread(checked, ward, 3)

        def kill(ports: list[int] = ports) -> float:
            killed = ward.signal(signal.SIGKILL, ports[0])
            return ward.wait_in_proxy("checked", set(ports[1:])) - killed

        report, took = await under_load(ward, "/checked/x", kill)
        times.append(took)
        assert report.outcomes == {"200": report.requests}
        ward.signal(signal.SIGKILL, *ports[1:])
    print(f"out of the proxy after {min(times):.2f} to {max(times):.2f} s, {len(times)} times")
    assert max(times) <= 2.5


def test_instance_that_hangs_is_out_though_its_port_accepts_and_comes_back(ward: Ward) -> None:
    ports = checked(ward, 3)
    stopped = ward.signal(signal.SIGSTOP, ports[0])
    assert ward.wait_in_proxy("checked", set(ports[1:])) - stopped <= 7
    (out,) = [each for each in ward.instances("checked") if each["state"] == "critical"]
    assert out["reason"] == "check http: no answer within 500ms"
    ward.signal(signal.SIGCONT, ports[0])
    ward.wait_in_proxy("checked", set(ports))


@pytest.mark.parametrize(
    ("kills", "ttl", "seconds_max"),
    [(1, "1s", 4.0), pytest.param(20, "5s", 5.5, marks=pytest.mark.soak)],
)
async def test_killed_instance_is_out_of_the_proxy_when_its_lease_ends(
    ward: Ward, kills: int, ttl: str, seconds_max: float
) -> None:
    times = []
    for _ in range(kills):
        ports = [await asyncio.to_thread(ward.start, "leased", ttl) for _ in range(3)]
        await asyncio.to_thread(ward.wait_in_proxy, "leased", set(ports))

        def kill(ports: list[int] = ports) -> float:
            killed = ward.signal(signal.SIGKILL, ports[0])
            return ward.wait_in_proxy("leased", set(ports[1:])) - killed

        report, took = await under_load(ward, "/leased/x", kill)
        times.append(took)
        assert report.outcomes == {"200": report.requests}
        ward.signal(signal.SIGKILL, *ports[1:])
        await asyncio.to_thread(ward.wait_instances, "leased")
    print(f"out of the proxy after {min(times):.2f} to {max(times):.2f} s, {kills} times")
    assert max(times) <= seconds_max


def test_those_that_fall_silent_together_are_kept_shown_and_released(ward: Ward) -> None:
    ports = [ward.start("leased") for _ in range(4)]
    ward.wait_in_proxy("leased", set(ports))
    # They cannot renew, and their ports accept: as when the registry cannot be reached.
    ward.signal(signal.SIGSTOP, *ports[:3])
    try:
        status = wait_until(lambda: ward.world.api.get("/v1/status")["protected"], "a protection")
        assert status["leased"]["instances"] == 4
        wait_until(lambda: sum(x["kept"] for x in ward.instances("leased")) == 3, "3 are kept")
        assert ward.in_proxy("leased") == set(ports)
        shown = ward.world.run("status").stdout
        assert "protected: 3 of 4 instances of leased fell at once and are kept in use" in shown
        kept = next(x for x in ward.instances("leased") if x["kept"])
        assert (kept["state"], "its lease ended" in kept["reason"]) == ("serving", True)
        assert "fell at once: they are kept in use" in ward.world.log()
    finally:
        ward.signal(signal.SIGCONT, *ports[:3])
    wait_until(lambda: not ward.world.api.get("/v1/status")["protected"], "the end of it")
    ward.wait_in_proxy("leased", set(ports))
    ward.signal(signal.SIGKILL, *ports)
    ward.wait_instances("leased")


def test_those_that_die_together_are_gone_as_nothing_listens_there_any_more(ward: Ward) -> None:
    ports = [ward.start("leased") for _ in range(4)]
    ward.wait_in_proxy("leased", set(ports))
    ward.signal(signal.SIGKILL, *ports[:3])
    ward.wait_in_proxy("leased", set(ports[3:]))
    assert [x["port"] for x in ward.instances("leased")] == ports[3:]
    ward.signal(signal.SIGKILL, ports[3])
    ward.wait_instances("leased")


@pytest.mark.parametrize(
    ("count", "ttl"),
    [
        pytest.param(150, "6s", marks=pytest.mark.long),
        pytest.param(1000, "40s", marks=pytest.mark.soak),
    ],
)
async def test_crowd_that_dies_at_once_holds_up_nobody(ward: Ward, count: int, ttl: str) -> None:
    port = await asyncio.to_thread(ward.start)
    ward.targets(port)
    await asyncio.to_thread(ward.wait_in_proxy, "listed", {port})
    await asyncio.to_thread(ward.crowd, count, ttl)
    assert len(await asyncio.to_thread(ward.instances, "leased")) == count
    slowest = 0.0

    def die() -> float:
        nonlocal slowest

        def is_over() -> bool:
            nonlocal slowest
            asked = time.monotonic()
            left = ward.world.api.get("/v1/instances", prefix="leased")
            slowest = max(slowest, time.monotonic() - asked)
            return not left

        wait_until(is_over, "the end of all", 90)
        return ward.wait_in_proxy("leased", set())

    report, _ = await under_load(ward, "/listed/x", die)
    assert report.outcomes == {"200": report.requests}
    assert slowest <= 2.0, "the control plane answers meanwhile"


def test_instance_that_the_proxy_lets_rest_is_shown_as_that(ward: Ward) -> None:
    ports = checked(ward, 2)
    assert [each["ejected"] for each in ward.instances("checked")] == [False, False]
    (ward.world.folder / f"bad-{ports[0]}").touch()

    def resting() -> list[int]:
        for _ in range(20):
            ward.world.ask("/checked/x")
        return [each["port"] for each in ward.instances("checked") if each["ejected"]]

    assert wait_until(resting, "an ejection") == [ports[0]]

    def is_shown() -> bool:
        """It rests for a while only, and then again: a command may come in between."""
        said = " ".join(ward.world.run("instances", "checked").stdout.split())
        return bool(resting()) and "the proxy lets it rest" in said

    wait_until(is_shown, "it is shown")


def test_file_of_targets_is_followed_to_the_proxy(ward: Ward) -> None:
    ports = [ward.start() for _ in range(2)]
    ward.targets(*ports)
    ward.wait_in_proxy("listed", set(ports))
    assert {x["source"] for x in ward.instances("listed")} == {"file"}
    ward.targets(ports[1])
    ward.wait_in_proxy("listed", {ports[1]})
    assert ward.world.ask("/listed/x") == (200, "fine")


def test_fixed_address_is_registered_and_shown_with_its_health(ward: Ward) -> None:
    (found,) = ward.wait_instances("fixed", "serving")
    assert (found["source"], found["kind"]) == ("yaml", "persistent")
    assert found["health"]["status"] == "passing"
    ward.signal(signal.SIGKILL, found["port"])
    (found,) = ward.wait_instances("fixed", "critical")
    assert found["reason"].startswith("check http: ")

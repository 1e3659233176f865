"""What the client promises, against a real control plane and real instances that die."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles

import pytest

from e2e.discovery.fleet import Fleet, Load, Watching, fleet_in
from moreton.registry.discovery import Discovery, Snapshot
from support.flaky import FlakyServer
from support.waits import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def one_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("fleet") / "shop") as fleet:
        yield fleet


@pytest.fixture
def fleet(one_fleet: Fleet) -> Iterator[Fleet]:
    yield one_fleet
    one_fleet.end()


def wait_seen(watching: Watching, *names: str) -> None:
    wait_until(lambda: watching.sees() == set(names), f"{names} are known")


def test_killed_instance_leaves_every_client_and_no_request_fails(fleet: Fleet) -> None:
    kill_under_load(fleet, clients=3, ttl="1s", victims=1)


@pytest.mark.soak
def test_killed_instances_are_out_of_every_client_half_a_second_after_their_lease(
    fleet: Fleet,
) -> None:
    lags = kill_under_load(fleet, clients=10, ttl="5s", victims=5)
    print(f"out of a client after {min(lags):.2f} to {max(lags):.2f} s, {len(lags)} times")
    assert max(lags) <= 5.5


def kill_under_load(fleet: Fleet, *, clients: int, ttl: str, victims: int) -> list[float]:
    """How long each victim was in each client's cache."""
    killed = [f"victim-{n}" for n in range(victims)]
    fleet.start("a", "b", *killed, ttl=ttl)
    lags = []
    with contextlib.ExitStack() as stack:
        watchings = [Watching(stack.enter_context(fleet.discovery())) for _ in range(clients)]
        for watching in watchings:
            wait_seen(watching, "a", "b", *killed)
        load = stack.enter_context(Load(watchings[0].discovery))
        wait_until(lambda: set(load.answers) == {"a", "b", *killed}, "all are asked")
        for victim in killed:
            killed_at = fleet.kill(victim)
            load.wait_answers(20)
            lags += [watching.gone_at(victim) - killed_at for watching in watchings]
        load.wait_answers(100)
    assert load.failures == []
    assert set(load.answers) == {"a", "b", *killed}
    return lags


@pytest.mark.long
def test_killed_control_plane_fails_no_request_and_loses_nothing(fleet: Fleet) -> None:
    # Those that live shall not lose their leases because this machine is busy.
    fleet.start("x", "y", ttl="20s")
    fleet.start("dies", ttl="3s")
    with fleet.discovery() as discovery:
        watching = Watching(discovery)
        wait_seen(watching, "x", "y", "dies")
        follower = discovery.follow("orders")
        with Load(discovery) as load:
            wait_until(lambda: set(load.answers) == {"x", "y", "dies"}, "all are asked")
            before = len(watching.views)
            fleet.world.stop(signal.SIGKILL)
            wait_until(lambda: not follower.snapshot.is_live, "the client notices")
            fleet.kill("dies")
            fleet.start("came", ttl="3s")
            load.wait_answers(300)
            assert watching.sees() == {"x", "y", "dies"}, "what was known last"
            fleet.world.start()
            wait_seen(watching, "x", "y", "came")
            wait_until(lambda: load.answers["came"], "who came meanwhile is asked")
    assert load.failures == []
    views = [seen for _, seen in watching.views[before:]]
    assert [seen for seen in views if not {"x", "y"} <= seen] == [], "nothing was lost"
    gone = next(n for n, seen in enumerate(views) if "dies" not in seen)
    assert all("dies" not in seen for seen in views[gone:]), "nothing dead revived"


@pytest.mark.soak
def test_first_request_reaches_an_instance_within_100_ms_of_its_registration(fleet: Fleet) -> None:
    waits = first_requests(fleet, 200)
    p99 = quantiles(waits, n=100)[98]
    print(f"registration to first request: median {median(waits):.1f} ms, p99 {p99:.1f} ms")
    assert p99 <= 100


def test_instance_is_asked_soon_after_it_registered(fleet: Fleet) -> None:
    assert median(first_requests(fleet, 20)) <= 100


def first_requests(fleet: Fleet, count: int) -> list[float]:
    """Milliseconds from the call that registers an instance to its first answer."""
    waits = []
    with (
        FlakyServer() as orders,
        fleet.discovery() as discovery,
        Load(discovery, threads=0) as load,
        contextlib.closing(fleet.connection()) as connection,
    ):
        for number in range(count):
            # A service of its own, so that nobody else can answer.
            service = f"orders-{number}"
            discovery.wait_known(service, timeout=timedelta(seconds=20))
            known = threading.Event()

            def told(_: Snapshot, known: threading.Event = known) -> None:
                known.set()

            discovery.follow(service).listen(told)
            known.clear()
            body = {"id": "a", "address": "127.0.0.1", "port": orders.port, "ttl": "1h"}
            begun = time.monotonic()
            fleet.post(connection, f"/v1/services/{service}/instances", body)
            assert known.wait(20)
            assert load.asks(f"http://{service}.moreton/")
            waits.append((time.monotonic() - begun) * 1000)
    return waits


@pytest.mark.long
def test_folder_of_the_control_plane_tells_where_it_is(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: Path = fleet.world.folder
    monkeypatch.chdir(folder)
    fleet.start("a")
    with Discovery() as discovery:
        wait_seen(Watching(discovery), "a")

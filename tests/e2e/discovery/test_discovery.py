"""The discovery client against a registry that is served for real, goes away and comes back."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from e2e.discovery.world import TOKEN, PushingServer, instance
from moreton.registry.discovery import (
    AsyncDiscovery,
    Balancing,
    Discovery,
    DiscoveryClosed,
    NoInstance,
    Outcome,
    ServiceUnknown,
)
from moreton.registry.errors import InstanceNotValid
from moreton.resilience.context import deadline
from support.ports import free_port
from support.waits import join_all, status_of_child, wait_until

pytestmark = pytest.mark.e2e

PATIENCE = timedelta(seconds=30)
SHORT = timedelta(milliseconds=200)


def known(discovery: Discovery, service: str = "orders") -> set[str]:
    return {str(each.id) for each in discovery.instances(service)}


def test_first_request_waits_to_be_told_and_changes_are_pushed(server: PushingServer) -> None:
    server.put(instance("a", 8001))
    with Discovery(**server.place) as discovery:
        with discovery.choose("orders") as chosen:
            assert chosen.instance.endpoint == "127.0.0.1:8001"
        server.put(instance("b", 8002))
        wait_until(lambda: known(discovery) == {"a", "b"}, "b is pushed")
        server.remove(instance("a", 8001))
        wait_until(lambda: known(discovery) == {"b"}, "a is gone")
        assert server.requests.count("GET /v1/watch") == 1, "nothing was polled"


async def test_asyncio_has_the_same_names(server: PushingServer) -> None:
    await asyncio.to_thread(server.put, instance("a", 8001))
    async with AsyncDiscovery(**server.place) as discovery:
        assert await discovery.wait_known("orders", timeout=PATIENCE)
        with await discovery.choose("orders") as chosen:
            assert chosen.instance.port == 8001
        await asyncio.to_thread(server.put, instance("b", 8002))
        async for snapshot in discovery.watch("orders"):
            if len(snapshot.instances) == 2:
                break
        assert len(await discovery.instances("orders")) == 2
    with pytest.raises(DiscoveryClosed):
        await discovery.choose("orders")


def test_registry_that_goes_away_takes_nothing_with_it(server: PushingServer) -> None:
    server.put(instance("a", 8001), instance("b", 8002))
    with Discovery(**server.place) as discovery:
        assert known(discovery) == {"a", "b"}
        server.stop()
        follower = discovery.follow("orders")
        wait_until(lambda: not follower.snapshot.is_live, "the client notices")
        assert {discovery.choose("orders").instance.port for _ in range(50)} == {8001, 8002}
        server.start()  # it remembers nothing
        wait_until(lambda: follower.snapshot.is_live, "the client is back")
        assert known(discovery) == {"a", "b"}
        server.put(instance("b", 8002))
        wait_until(lambda: follower.snapshot.doubted == {"a"}, "b registered again")


def test_stream_that_breaks_is_opened_again(server: PushingServer) -> None:
    server.put(instance("a", 8001))
    with Discovery(**server.place) as discovery:
        assert known(discovery) == {"a"}
        follower = discovery.follow("orders")
        connection = follower._stream._connection
        assert connection is not None
        connection.sock.shutdown(socket.SHUT_RDWR)  # as when it is reset
        server.wait_requests("GET /v1/watch", 2)
        server.put(instance("b", 8002))
        wait_until(lambda: known(discovery) == {"a", "b"}, "changes arrive again")


def test_next_node_is_asked_when_one_does_not_answer(server: PushingServer) -> None:
    server.put(instance("a", 8001))
    nodes = f"http://127.0.0.1:{free_port()},{server.url}"
    with Discovery(api=nodes, token=TOKEN) as discovery:
        assert known(discovery) == {"a"}


def test_another_node_is_followed_when_one_dies(server: PushingServer) -> None:
    other = PushingServer()
    other.start()
    try:
        other.put(instance("a", 8001))
        with Discovery(api=f"{other.url},{server.url}", token=TOKEN) as discovery:
            assert known(discovery) == {"a"}
            server.put(instance("a", 8001), instance("b", 8002))
            other.stop()
            wait_until(lambda: known(discovery) == {"a", "b"}, "the other node tells")
            server.put(instance("c", 8003))
            wait_until(lambda: known(discovery) == {"a", "b", "c"}, "and pushes")
            other.start()
    finally:
        other.stop()


def test_many_threads_choose_at_once(server: PushingServer) -> None:
    server.put(*(instance(f"i{n}", 8001 + n) for n in range(5)))
    with Discovery(**server.place) as discovery:
        discovery.wait_known("orders")
        outcomes = list(Outcome)

        def choose() -> None:
            for number in range(500):
                discovery.choose("orders").ended(outcomes[number % len(outcomes)])
                discovery.choose("orders")  # dropped

        threads = [threading.Thread(target=choose) for _ in range(4)]
        for thread in threads:
            thread.start()
        join_all(threads)
        with discovery.choose("orders"):
            assert discovery.statistics("orders").outstanding == 1


def test_service_without_an_instance_says_so(server: PushingServer) -> None:
    with Discovery(**server.place) as discovery:
        with pytest.raises(NoInstance, match=r'no instance of "orders" serves .none is registered'):
            discovery.choose("orders")
        server.put(instance("a", 8001, weight=0))
        wait_until(lambda: known(discovery) or None, "a is known")
        with pytest.raises(NoInstance, match="1 with weight 0"):
            discovery.choose("orders")


def test_silence_ends_the_wait_in_time_and_only_once() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Discovery(api=url, first_answer=SHORT) as discovery:
        with pytest.raises(ServiceUnknown, match=rf'"orders" is .{url} does not answer: '):
            discovery.choose("orders")
        begun = time.monotonic()
        for _ in range(20):
            with pytest.raises(ServiceUnknown):
                discovery.choose("orders")
        assert time.monotonic() - begun < 20 * SHORT.total_seconds(), "none waited again"
        assert not discovery.wait_known("orders", timeout=SHORT)


def test_wait_for_the_first_answer_ends_with_the_deadline_of_the_call() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Discovery(api=url, first_answer=PATIENCE) as discovery:
        begun = time.monotonic()
        with deadline(SHORT), pytest.raises(ServiceUnknown):
            discovery.choose("orders")
        assert time.monotonic() - begun < PATIENCE.total_seconds() / 2


def test_wrong_token_is_told(server: PushingServer) -> None:
    with (
        Discovery(api=server.url, token="another", first_answer=SHORT) as discovery,
        pytest.raises(ServiceUnknown, match=r"the token is wrong.*401"),
    ):
        discovery.choose("orders")


def test_name_that_no_service_can_have_is_refused_at_once() -> None:
    with Discovery() as discovery:
        for name in ("Orders", "", "a/b", "a" * 64):
            with pytest.raises(InstanceNotValid):
                discovery.choose(name)
        with pytest.raises(TypeError):
            discovery.choose(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [{"api": 7400}, {"token": b"x"}, {"first_answer": 5}, {"balancing": {}}, {"caller": 7}],
)
def test_settings_of_the_wrong_kind_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(settings))} is "):
        Discovery(**settings)


def test_copy_lets_a_program_start_while_the_registry_is_away(
    server: PushingServer, tmp_path: Path
) -> None:
    server.put(instance("a", 8001))
    with Discovery(**server.place, copy=tmp_path / "copy") as discovery:
        assert known(discovery) == {"a"}
        wait_until((tmp_path / "copy" / "orders.json").exists, "the copy is written")
    server.stop()
    with Discovery(**server.place, copy=tmp_path / "copy", first_answer=timedelta(0)) as restarted:
        assert restarted.choose("orders").instance.port == 8001
    server.start()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 9}', '{"version": 1}'])
def test_copy_that_cannot_be_read_is_none(
    server: PushingServer, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "orders.json").write_text(text)
    server.put(instance("a", 8001))
    with caplog.at_level(logging.WARNING), Discovery(**server.place, copy=tmp_path) as discovery:
        assert known(discovery) == {"a"}
        wait_until(
            lambda: '"a"' in (tmp_path / "orders.json").read_text(), "a good copy replaces it"
        )
    if text != '{"version": 9}':
        assert "cannot be read" in caplog.text
    assert json.loads((tmp_path / "orders.json").read_text())["service"] == "orders"


def test_copy_that_cannot_be_written_harms_nothing(
    server: PushingServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    server.put(instance("a", 8001))
    with Discovery(**server.place, copy=tmp_path / "file" / "copy") as discovery:
        assert known(discovery) == {"a"}
        wait_until(lambda: "cannot be written" in caplog.text, "the log says so")


def test_watcher_of_one_service_is_not_woken_for_another(server: PushingServer) -> None:
    server.put(instance("a", 8001), instance("p", 9001, "payments"))
    with Discovery(**server.place) as discovery:
        assert discovery.wait_known("orders", "payments", timeout=PATIENCE)
        woken: list[str] = []
        for service in ("orders", "payments"):
            discovery.follow(service).listen(lambda snapshot: woken.append(snapshot.service))
        woken.clear()
        for weight in range(2, 52):
            server.put(instance("a", 8001, weight=weight))
        wait_until(lambda: discovery.instances("orders")[0].weight == 51, "all are told")
        assert set(woken) == {"orders"}
        assert len(woken) <= 50


def test_slow_watcher_gets_the_newest_only(server: PushingServer) -> None:
    server.put(instance("a", 8001))
    with Discovery(**server.place) as discovery:
        watching = discovery.watch("orders")
        assert [each.weight for each in next(watching).instances] == [1]
        for weight in range(2, 52):
            server.put(instance("a", 8001, weight=weight))
        wait_until(lambda: discovery.instances("orders")[0].weight == 51, "all are told")
        assert [each.weight for each in next(watching).instances] == [51]


def test_watch_ends_when_discovery_is_closed(server: PushingServer) -> None:
    discovery = Discovery(**server.place)
    seen: list[int] = []
    thread = threading.Thread(
        target=lambda: seen.extend(len(each.instances) for each in discovery.watch("orders"))
    )
    thread.start()
    wait_until(lambda: seen or server.requests, "it watches")
    discovery.close()
    discovery.close()
    thread.join(PATIENCE.total_seconds())
    assert not thread.is_alive()
    names = {each.name for each in threading.enumerate()}
    assert "moreton-discovery-orders" not in names


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_child_of_a_fork_follows_by_itself(server: PushingServer) -> None:
    server.put(instance("a", 8001))
    with Discovery(**server.place) as discovery:
        assert known(discovery) == {"a"}
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, discovery.choose("orders").instance.id.encode())
                wait_until(lambda: known(discovery) == {"a", "b"}, "the child is told")
                os.write(writer, b" and more")
            finally:
                os._exit(0)
        os.close(writer)
        assert os.read(reader, 1) == b"a"
        server.put(instance("b", 8002))
        said = b""
        while part := os.read(reader, 100):
            said += part
        os.close(reader)
        status_of_child(child)
        assert said == b" and more"
        assert known(discovery) == {"a", "b"}


def test_choice_that_is_dropped_is_not_under_way_any_more(server: PushingServer) -> None:
    server.put(instance("a", 8001))
    with Discovery(**server.place) as discovery:
        discovery.choose("orders")
        kept = discovery.choose("orders")
        assert discovery.statistics("orders").outstanding == 1
        kept.ended(Outcome.ANSWERED)
        kept.ended(Outcome.REFUSED)  # the first word counts
        statistics = discovery.statistics("orders")
        assert (statistics.outstanding, statistics.ejected) == (0, 0)


def test_client_that_is_forgotten_leaves_no_thread(server: PushingServer) -> None:
    server.put(instance("a", 8001, "forgotten"))
    discovery = Discovery(**server.place)
    assert known(discovery, "forgotten") == {"a"}
    thread = discovery.follow("forgotten")._thread
    del discovery
    gc.collect()
    wait_until(lambda: not thread.is_alive(), "it ends")


def test_listener_that_fails_harms_nobody(
    server: PushingServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.put(instance("a", 8001))
    with Discovery(**server.place) as discovery:
        assert known(discovery) == {"a"}
        seen: list[int] = []
        discovery.follow("orders")._listeners.append(lambda _: 1 // 0)
        discovery.follow("orders").listen(lambda snapshot: seen.append(len(snapshot.instances)))
        server.put(instance("b", 8002))
        wait_until(lambda: seen == [1, 2], "the other one is told")
        assert "a listener failed" in caplog.text


def test_error_within_a_choice_tells_of_the_instance(server: PushingServer) -> None:
    server.put(instance("a", 8001), instance("b", 8002))
    with Discovery(**server.place) as discovery:
        discovery.wait_known("orders")
        with pytest.raises(ConnectionRefusedError), discovery.choose("orders") as chosen:
            raise ConnectionRefusedError(111, "connection refused")
        others = {discovery.choose("orders").instance.id for _ in range(30)}
        assert chosen.instance.id not in others
        with pytest.raises(KeyError), discovery.choose("orders"):
            raise KeyError("of the caller's own")
        assert discovery.statistics("orders").ejected == 1


def test_zones_of_the_callers_are_found_by_their_service(server: PushingServer) -> None:
    server.put(instance("e", 8001, zone="east"), instance("w", 8002, zone="west"))
    server.put(*(instance(f"s{n}", 9000 + n, "shop", zone="east") for n in range(4)))
    with Discovery(**server.place, balancing=Balancing(zone="east"), caller="shop") as discovery:
        discovery.wait_known("orders", "shop", timeout=PATIENCE)
        wait_until(
            lambda: discovery.statistics("orders").zone_shares == {"east": 0.5, "west": 0.5},
            "all calls come from the east, where half of the capacity is",
        )

"""What goes wrong in delta xDS servers, each as a test over real gRPC.

Sources: Envoy `xds_protocol.rst`, and the faults that other control planes had.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio
import pytest

from moreton.envoy.core.resources import ResourceKey, TypeUrl
from moreton.envoy.xds import ObjectState, XdsServer
from support.delta_client import (
    GROUP,
    DeltaClient,
    cluster,
    endpoints,
    names,
    resource,
    routes,
    snapshot,
)

pytestmark = pytest.mark.slow


async def test_first_wildcard_request_is_answered_even_when_there_is_nothing(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot())
    await client.subscribe(TypeUrl.CLUSTER)
    assert names(await client.accept()) == set()


async def test_legacy_wildcard_ends_when_a_name_is_subscribed(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("a")))
    await client.subscribe(TypeUrl.CLUSTER)
    await client.accept()
    await client.subscribe(TypeUrl.CLUSTER, ["b"])
    response = await client.accept()
    assert names(response) == set()
    assert list(response.removed_resources) == ["b"]
    server.publish(GROUP, snapshot(cluster("a"), cluster("b"), cluster("c")))
    assert names(await client.accept()) == {"b"}


async def test_empty_later_request_is_no_wildcard(server: XdsServer, client: DeltaClient) -> None:
    server.publish(GROUP, snapshot(endpoints("a")))
    await client.subscribe(TypeUrl.ENDPOINTS, ["a"])
    response = await client.next_response()
    await client.send(TypeUrl.ENDPOINTS, response_nonce=response.nonce)
    server.publish(GROUP, snapshot(endpoints("a"), endpoints("b")))
    assert await client.silent()


async def test_unknown_name_is_reported_removed_at_once_and_sent_when_it_appears(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot())
    await client.subscribe(TypeUrl.ENDPOINTS, ["late"])
    response = await client.accept()
    assert list(response.removed_resources) == ["late"]
    server.publish(GROUP, snapshot(endpoints("late")))
    assert names(await client.accept()) == {"late"}


async def test_stale_nonce_does_not_lose_the_subscription_it_came_with(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(endpoints("a"), endpoints("b")))
    await client.subscribe(TypeUrl.ENDPOINTS, ["a"])
    await client.accept()
    await client.send(TypeUrl.ENDPOINTS, response_nonce="long-gone", resource_names_subscribe=["b"])
    assert names(await client.accept()) == {"b"}


async def test_stale_nonce_acknowledges_nothing(server: XdsServer, client: DeltaClient) -> None:
    server.publish(GROUP, snapshot(endpoints("a")))
    await client.subscribe(TypeUrl.ENDPOINTS, ["a"])
    await client.next_response()
    await client.send(TypeUrl.ENDPOINTS, response_nonce="long-gone")
    server.publish(GROUP, snapshot(endpoints("a", "2")))
    assert await client.silent()  # the first is still unanswered
    key = ResourceKey(TypeUrl.ENDPOINTS, "a")
    assert server.status(GROUP, key).state is ObjectState.PENDING


async def test_name_subscribed_again_is_sent_again(server: XdsServer, client: DeltaClient) -> None:
    server.publish(GROUP, snapshot(endpoints("a")))
    await client.subscribe(TypeUrl.ENDPOINTS, ["a"])
    await client.accept()
    await client.subscribe(TypeUrl.ENDPOINTS, ["a"])
    assert names(await client.accept()) == {"a"}


async def test_unsubscribed_name_that_the_wildcard_covers_is_answered(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("a")))
    await client.subscribe(TypeUrl.CLUSTER, ["*", "a"])
    await client.accept()
    await client.send(TypeUrl.CLUSTER, resource_names_unsubscribe=["a"])
    assert names(await client.accept()) == {"a"}


async def test_unsubscribed_name_that_is_gone_is_answered_as_removed(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("a")))
    await client.subscribe(TypeUrl.CLUSTER, ["*", "b"])
    await client.accept()
    await client.send(TypeUrl.CLUSTER, resource_names_unsubscribe=["b"])
    assert list((await client.accept()).removed_resources) == ["b"]


async def test_nothing_is_sent_for_a_name_unsubscribed_while_a_response_is_under_way(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(endpoints("a"), endpoints("b")))
    await client.subscribe(TypeUrl.ENDPOINTS, ["a", "b"])
    first = await client.next_response()
    server.publish(GROUP, snapshot(endpoints("a", "2"), endpoints("b", "2")))  # waits its turn
    await client.send(TypeUrl.ENDPOINTS, resource_names_unsubscribe=["b"])
    await client.ack(first)
    assert names(await client.accept()) == {"a"}
    assert await client.silent()


async def test_reconnect_sends_what_changed_and_removes_what_went(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("same"), cluster("new"), cluster("changed", "2")))
    held = {"same": "1", "changed": "1", "gone": "1"}
    await client.subscribe(TypeUrl.CLUSTER, held=held)
    assert names(await client.accept()) == {"new", "changed"}
    await client.subscribe(TypeUrl.LISTENER)  # it has none, so nothing can need a cluster
    responses = [await client.accept(), await client.accept()]
    assert [list(each.removed_resources) for each in responses if each.removed_resources] == [
        ["gone"]
    ]
    assert await client.silent()
    key = ResourceKey(TypeUrl.CLUSTER, "same")
    assert server.status(GROUP, key).state is ObjectState.APPLIED


async def test_reconnect_with_named_resources_skips_equal_versions(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(endpoints("a"), endpoints("b", "2")))
    await client.subscribe(TypeUrl.LISTENER)
    await client.accept()
    await client.subscribe(TypeUrl.ENDPOINTS, ["a", "b", "c"], {"a": "1", "b": "1", "c": "1"})
    response = await client.accept()
    assert names(response) == {"b"}
    assert list(response.removed_resources) == ["c"]


async def test_reconnect_request_over_four_mebibytes_is_taken(
    server: XdsServer, client: DeltaClient
) -> None:
    held = {
        f"a-service-with-a-rather-long-name-{n:06}": "0123456789abcdef" * 4 for n in range(50_000)
    }
    server.publish(GROUP, snapshot(cluster("a")))
    await client.subscribe(TypeUrl.CLUSTER, held=held)
    assert names(await client.accept()) == {"a"}
    await client.subscribe(TypeUrl.LISTENER)
    responses = [await client.accept(), await client.accept()]
    assert sum(len(each.removed_resources) for each in responses) == len(held)


async def test_reconnect_removes_no_cluster_before_the_new_routes_are_acknowledged(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(
        GROUP,
        snapshot(
            cluster("new"),
            endpoints("new"),
            resource(TypeUrl.LISTENER, "l"),
            routes("r", ["new"], "2"),
        ),
    )
    await client.subscribe(TypeUrl.CLUSTER, held={"old": "1"})
    assert names(await client.accept()) == {"new"}
    await client.subscribe(TypeUrl.LISTENER, held={"l": "1"})
    assert await client.silent()  # the routes have not been shown yet
    await client.subscribe(TypeUrl.ENDPOINTS, ["old", "new"], {"old": "1"})
    assert names(await client.accept()) == {"new"}
    await client.subscribe(TypeUrl.ROUTES, ["r"], {"r": "1"})
    moved = await client.next_response()
    assert names(moved) == {"r"}
    assert await client.silent()
    await client.ack(moved)
    removed = [await client.accept(), await client.accept()]
    assert [list(each.removed_resources) for each in removed] == [["old"], ["old"]]


async def test_nack_of_a_good_and_a_bad_cluster_applies_the_good(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("good"), cluster("bad")))
    await client.subscribe(TypeUrl.CLUSTER)
    response = await client.next_response()
    await client.nack(response, "Error adding/updating cluster(s) bad: no such thing")
    assert await client.silent()
    good = server.status(GROUP, ResourceKey(TypeUrl.CLUSTER, "good"))
    bad = server.status(GROUP, ResourceKey(TypeUrl.CLUSTER, "bad"))
    assert good.state is ObjectState.APPLIED
    assert bad.state is ObjectState.REJECTED
    assert "no such thing" in bad.reason


async def test_nacked_version_is_not_sent_again_until_it_changes(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("bad")))
    await client.subscribe(TypeUrl.CLUSTER)
    response = await client.next_response()
    await client.nack(response, "Error adding/updating cluster(s) bad: why")
    server.publish(GROUP, snapshot(cluster("bad"), cluster("other")))
    assert names(await client.accept()) == {"other"}
    server.publish(GROUP, snapshot(cluster("bad", "2"), cluster("other")))
    assert names(await client.accept()) == {"bad"}


async def test_route_tables_are_sent_one_a_response(server: XdsServer, client: DeltaClient) -> None:
    server.publish(GROUP, snapshot(routes("r1", []), routes("r2", [])))
    await client.subscribe(TypeUrl.ROUTES, ["r1", "r2"])
    first, second = await client.accept(), await client.accept()
    assert len(names(first)) == len(names(second)) == 1
    assert names(first) | names(second) == {"r1", "r2"}


async def test_routes_wait_for_their_cluster_and_its_endpoints_to_be_acknowledged(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("a"), endpoints("a"), routes("r", ["a"])))
    await client.subscribe(TypeUrl.CLUSTER)
    clusters = await client.next_response()
    await client.subscribe(TypeUrl.ROUTES, ["r"])
    assert await client.silent()
    await client.ack(clusters)
    assert await client.silent()
    await client.subscribe(TypeUrl.ENDPOINTS, ["a"])
    members = await client.next_response()
    assert await client.silent()
    await client.ack(members)
    assert names(await client.accept()) == {"r"}


async def test_cluster_is_removed_only_after_the_routes_that_leave_it_are_acknowledged(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("a"), endpoints("a"), routes("r", ["a"])))
    await client.subscribe(TypeUrl.CLUSTER)
    await client.accept()
    await client.subscribe(TypeUrl.ENDPOINTS, ["a"])
    await client.accept()
    await client.subscribe(TypeUrl.ROUTES, ["r"])
    await client.accept()
    server.publish(GROUP, snapshot(cluster("b"), endpoints("b"), routes("r", ["b"], "2")))
    added = await client.accept()
    assert names(added) == {"b"}
    assert not added.removed_resources
    await client.subscribe(TypeUrl.ENDPOINTS, ["b"])
    assert names(await client.accept()) == {"b"}
    moved = await client.next_response()
    assert names(moved) == {"r"}
    assert await client.silent()  # nothing is removed while the move is unanswered
    await client.ack(moved)
    removed = await client.accept()
    assert list(removed.removed_resources) == ["a"]


async def test_refused_routes_keep_the_clusters_of_those_in_force(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("a"), endpoints("a"), routes("r", ["a"])))
    await client.subscribe(TypeUrl.CLUSTER)
    await client.accept()
    await client.subscribe(TypeUrl.ENDPOINTS, ["a"])
    await client.accept()
    await client.subscribe(TypeUrl.ROUTES, ["r"])
    await client.accept()
    server.publish(GROUP, snapshot(routes("r", [], "2")))
    await client.nack(await client.next_response(), "missing ]: [")
    assert await client.silent()  # the table in force still needs the cluster


async def test_responses_are_serialised_the_same_way_every_time(
    server: XdsServer, client: DeltaClient, second: DeltaClient
) -> None:
    many = [resource(TypeUrl.CLUSTER, f"c{n}") for n in range(50)]
    server.publish(GROUP, snapshot(*many))
    for each in (client, second):
        await each.subscribe(TypeUrl.CLUSTER)
    one, other = await asyncio.gather(client.accept(), second.accept())
    assert one.SerializeToString() == other.SerializeToString()


async def test_empty_endpoints_are_sent_so_that_warming_ends(
    server: XdsServer, client: DeltaClient
) -> None:
    server.publish(GROUP, snapshot(cluster("a"), endpoints("a")))
    await client.subscribe(TypeUrl.ENDPOINTS, ["a"])
    assert names(await client.accept()) == {"a"}


async def test_status_counts_every_proxy(
    server: XdsServer, client: DeltaClient, second: DeltaClient
) -> None:
    key = ResourceKey(TypeUrl.CLUSTER, "a")
    server.publish(GROUP, snapshot(cluster("a")))
    for each in (client, second):
        await each.subscribe(TypeUrl.CLUSTER)
    await client.accept()
    response = await second.next_response()
    assert not await server.wait_applied(GROUP, [key], 0.1)
    await second.ack(response)
    assert await server.wait_applied(GROUP, [key], 5)
    assert str(server.status(GROUP, key)) == "applied 2/2"


async def test_proxy_that_leaves_is_not_counted(server: XdsServer, client: DeltaClient) -> None:
    server.publish(GROUP, snapshot(cluster("a")))
    await client.subscribe(TypeUrl.CLUSTER)
    await client.accept()
    assert await server.wait_applied(GROUP, [ResourceKey(TypeUrl.CLUSTER, "a")], 5)
    await client.close()
    async with asyncio.timeout(5):
        while server.proxies():
            await asyncio.sleep(0.01)


async def test_unknown_type_is_left_unanswered(server: XdsServer, client: DeltaClient) -> None:
    server.publish(GROUP, snapshot(cluster("a")))
    await client.subscribe(TypeUrl.CLUSTER)
    await client.accept()
    await client.send("type.googleapis.com/of.nobody")  # type: ignore[arg-type]
    assert await client.silent()


@pytest.mark.parametrize(("kind", "again"), [(TypeUrl.EXTENSION, True), (TypeUrl.ROUTES, False)])
async def test_filter_that_was_refused_is_followed_by_the_one_before(
    server: XdsServer, client: DeltaClient, kind: TypeUrl, *, again: bool
) -> None:
    # Envoy takes a filter that it refused last for the one it has, when it comes once more.
    good, bad = resource(kind, "r", "1"), resource(kind, "r", "2")
    server.publish(GROUP, snapshot(good))
    await client.subscribe(kind, ["r"])
    await client.accept()
    server.publish(GROUP, snapshot(bad))
    await client.nack(await client.next_response(), "no")
    server.publish(GROUP, snapshot(good))
    if again:
        assert [each.version for each in (await client.accept()).resources] == ["1"]
    assert await client.silent()


async def test_a_stream_whose_requests_cannot_be_read_any_more_ends(tmp_path: Path) -> None:
    faults: list[Exception] = []

    def told() -> None:
        while faults:
            raise faults.pop()

    server = XdsServer(told)
    await server.start(f"unix:{tmp_path / 'own.sock'}")
    client = DeltaClient(f"unix:{tmp_path / 'own.sock'}")
    try:
        server.publish(GROUP, snapshot(cluster("a")))
        await client.subscribe(TypeUrl.CLUSTER)
        response = await client.next_response()
        faults.append(ValueError("whoever is told of acknowledgements fails"))
        await client.ack(response)
        assert await client.next_response() is grpc.aio.EOF
    finally:
        await client.close()
        await server.stop()

from __future__ import annotations

import asyncio

import httpx
import pytest

from moreton.controlplane.api.events import EVENTS_BEHIND_MAX, Events
from moreton.controlplane.assembly.plane import Plane

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer wrong"}, {"authorization": ""}])
async def test_request_without_the_token_is_refused(
    client: httpx.AsyncClient, header: dict[str, str]
) -> None:
    del client.headers["authorization"]
    for path in ("/v1/routes", "/v1/status", "/metrics", "/nothing"):
        answer = await client.get(path, headers=header)
        assert answer.status_code == 401
        assert answer.json()["code"] == "token-required"
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_health_needs_no_token_and_says_what_is_missing(client: httpx.AsyncClient) -> None:
    del client.headers["authorization"]
    answer = await client.get("/v1/health")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": ["no proxy is connected"]}


async def test_status_counts_and_lists_what_needs_attention(client: httpx.AsyncClient) -> None:
    found = (await client.get("/v1/status")).json()
    assert found["objects"] == {
        "gateway": {"pending": 1},
        "service": {"pending": 2},
        "route": {"pending": 2},
        "limit": {},
    }
    assert {one["name"] for one in found["attention"]} >= {"products", "shop"}
    assert found["envoy"]["pid"] is None


async def test_explanation_names_winner_and_near_miss(client: httpx.AsyncClient) -> None:
    query = {"method": "POST", "url": "http://shop.example/catalogue/1", "header": "x: 1"}
    found = (await client.get("/v1/explain", params=query)).json()
    assert found["winner"]["name"] == "everything"
    assert found["near_misses"][0]["where"] == "moreton.yaml:7:3"


@pytest.mark.parametrize("query", [{"url": "nonsense"}, {"url": "/", "header": "x"}, {}])
async def test_explanation_of_nonsense_is_refused(
    client: httpx.AsyncClient, query: dict[str, str]
) -> None:
    assert (await client.get("/v1/explain", params=query)).status_code == 422


async def test_openapi_describes_every_path(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert {
        "/v1/routes/{name}",
        "/v1/routes/{name}/weights",
        "/v1/services/{name}",
        "/v1/services/{service}/instances",
        "/v1/health",
        "/v1/status",
        "/v1/watch",
        "/v1/explain",
        "/metrics",
    } <= document["paths"].keys()


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'moreton_objects{kind="route",state="pending"} 2.0' in answer.text


async def test_watcher_sees_changes_of_objects(plane: Plane, client: httpx.AsyncClient) -> None:
    stream = plane.events.stream()
    assert (await anext(stream)).startswith(":")
    await client.put("/v1/routes/products/weights", json={"shop": 1, "catalogue": 1})
    async with asyncio.timeout(5):
        event = await anext(stream)
    assert event.startswith("event: object\nid: 1\ndata: ")
    assert '"name": "products"' in event
    plane.events.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_watcher_that_is_too_far_behind_is_told_so() -> None:
    events = Events()
    stream = events.stream()
    await anext(stream)
    for number in range(EVENTS_BEHIND_MAX + 1):
        events.tell("object", {"number": number})
    assert await anext(stream) == "event: lost\ndata: {}\n\n"
    assert f'"number": {EVENTS_BEHIND_MAX}' in await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]

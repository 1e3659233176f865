"""Who is let in, and what is answered to what is no endpoint."""

from __future__ import annotations

import asyncio

import pytest

from moreton.registry.consul import Anonymous
from unit.registry.consul.asking import TOKEN, Consul, serving


async def test_token_is_taken_from_all_places_where_clients_put_it(consul: Consul) -> None:
    for headers in ({"x_consul_token": TOKEN}, {"authorization": f"Bearer {TOKEN}"}):
        told = await consul.ask("GET", "/v1/catalog/services", token="", **headers)
        assert told.status == 200
    told = await consul.ask("GET", f"/v1/catalog/services?token={TOKEN}", token="")
    assert told.status == 200


async def test_nothing_is_done_without_a_token(consul: Consul) -> None:
    for method, target in (("GET", "/v1/catalog/services"), ("PUT", "/v1/kv/a")):
        told = await consul.ask(method, target, b"", token="")
        assert told.status == 403
        assert told.text.startswith("Permission denied")
        told = await consul.ask(method, target, b"", token="wrong")
        assert told.status == 403
        assert told.text.startswith("ACL not found")
    assert (await consul.get("/v1/kv/a")).status == 404
    assert (await consul.ask("GET", "/v1/status/leader", token="")).status == 200


@pytest.mark.parametrize(
    ("anonymous", "get", "put"),
    [(Anonymous.NOTHING, 403, 403), (Anonymous.READ, 200, 403), (Anonymous.WRITE, 200, 200)],
)
async def test_what_is_open_to_all_is_the_owners_to_say(
    anonymous: Anonymous, get: int, put: int
) -> None:
    async with serving(anonymous=anonymous) as consul:
        told = await consul.ask("GET", "/v1/catalog/services", token="")
        assert told.status == get
        if get == 200:
            assert told.headers["x-consul-default-acl-policy"] == "allow"
        assert (await consul.ask("PUT", "/v1/kv/a", b"", token="")).status == put
        told = await consul.ask("GET", "/v1/catalog/services", token="wrong")
        assert told.status == 403, "a wrong token is not as good as none"


async def test_page_of_another_site_in_a_browser_gets_nothing_without_a_token() -> None:
    async with serving(anonymous=Anonymous.WRITE) as consul:
        for headers in (
            {"origin": "http://elsewhere.example"},
            {"origin": "http://["},
            {"sec_fetch_site": "cross-site"},
        ):
            assert (await consul.ask("PUT", "/v1/kv/a", b"", token="", **headers)).status == 403
            assert (await consul.ask("PUT", "/v1/kv/a", b"", **headers)).status == 200
        for headers in ({"origin": "http://localhost:8500"}, {"sec_fetch_site": "same-origin"}):
            assert (await consul.ask("PUT", "/v1/kv/a", b"", token="", **headers)).status == 200


@pytest.mark.parametrize(
    ("method", "target", "status", "text"),
    [
        ("GET", "/", 404, "there is no endpoint /"),
        ("GET", "/v1/connect/intentions", 404, "there is no endpoint"),
        ("GET", "/v1/kv", 404, "there is no endpoint"),
        ("GET", "/v2/kv/a", 404, "there is no endpoint"),
        ("GET", "/v1/agent/service/register", 405, "method GET not allowed; use PUT"),
        ("PUT", "/v1/catalog/services", 405, "method PUT not allowed; use GET"),
        ("GET", "/v1/health/service/", 400, "Missing service name"),
        ("GET", "/v1/health/state/odd", 400, "Invalid check state"),
        ("GET", f"/v1/kv/{'a' * 5000}", 414, "the path has"),
        ("GET", f"/v1/kv/a?{'x&' * 300}", 400, "more than 256 parameters"),
        ("GET", "/v1/health/service/a?passing=perhaps", 400, "Invalid value for passing"),
        ("GET", "/v1/health/service/a?filter=%3D%3D", 400, "boolean expression"),
    ],
)
async def test_what_is_no_endpoint_is_a_sentence(
    consul: Consul, method: str, target: str, status: int, text: str
) -> None:
    told = await consul.ask(method, target)
    assert told.status == status
    assert text in told.text
    assert told.headers["content-type"].startswith("text/plain")


async def test_head_is_get_without_the_body(consul: Consul) -> None:
    await consul.put("/v1/kv/a", b"1")
    told = await consul.ask("HEAD", "/v1/kv/a")
    assert (told.status, told.body) == (200, b"")
    assert int(told.headers["content-length"]) > 0


async def test_store_that_fails_is_an_error_of_the_server_and_not_the_end(
    consul: Consul,
) -> None:
    await consul.register(ID="one")
    await consul.store.close()
    told = await consul.put("/v1/kv/a", b"1")
    assert told.status == 500
    assert "the store is closed" in told.text
    told = await consul.get("/v1/kv/a")
    assert told.status == 500
    assert told.text.startswith("No cluster leader")
    assert (await consul.get("/v1/health/service/orders?consistent")).status == 500
    while consul.api._catalog.mirror.seen_at is None:
        await asyncio.sleep(0)
    told = await consul.get("/v1/health/service/orders")
    assert len(told.json) == 1, "what is known goes on being told"
    assert told.headers["x-consul-knownleader"] == "false"
    assert (await consul.get("/v1/kv/a?stale")).status == 404

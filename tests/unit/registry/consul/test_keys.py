"""The key-value store by HTTP: verbs, forms, locks."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from unit.registry.consul.asking import Consul, serving


async def session(consul: Consul, **body: Any) -> str:
    told = await consul.put("/v1/session/create", {"LockDelay": "0s", **body})
    assert told.status == 200, told.text
    return str(told.json["ID"])


def value(told: Any) -> bytes:
    return base64.b64decode(told["Value"])


async def test_what_was_put_is_read(consul: Consul) -> None:
    assert (await consul.put("/v1/kv/app/name?flags=42", b"fig")).json is True
    told = await consul.get("/v1/kv/app/name")
    (entry,) = told.json
    assert value(entry) == b"fig"
    assert (entry["Key"], entry["Flags"], entry["LockIndex"]) == ("app/name", 42, 0)
    assert "Session" not in entry
    assert entry["CreateIndex"] == entry["ModifyIndex"] == told.index > 0
    raw = await consul.get("/v1/kv/app/name?raw")
    assert raw.body == b"fig"
    assert raw.headers["content-type"] == "text/plain"


async def test_missing_key_is_404_with_an_index_and_no_body(consul: Consul) -> None:
    for target in ("nothing", "nothing?raw", "nothing?recurse", "nothing/?keys"):
        told = await consul.get(f"/v1/kv/{target}")
        assert (told.status, told.body) == (404, b"")
        assert told.index >= 1


async def test_same_value_again_does_not_count_as_a_change(consul: Consul) -> None:
    await consul.put("/v1/kv/a", b"1")
    before = (await consul.get("/v1/kv/a")).json
    await consul.put("/v1/kv/a", b"1")
    assert (await consul.get("/v1/kv/a")).json == before
    await consul.put("/v1/kv/a?flags=1", b"1")
    (after,) = (await consul.get("/v1/kv/a")).json
    assert after["ModifyIndex"] > before[0]["ModifyIndex"]
    assert after["CreateIndex"] == before[0]["CreateIndex"]


async def test_trees_are_read_listed_and_deleted(consul: Consul) -> None:
    for key in ("a/b/c", "a/b/d", "a/e", "ab", "z"):
        await consul.put(f"/v1/kv/{key}", key.encode())
    assert [e["Key"] for e in (await consul.get("/v1/kv/a/?recurse")).json] == [
        "a/b/c",
        "a/b/d",
        "a/e",
    ]
    assert (await consul.get("/v1/kv/a/?keys")).json == ["a/b/c", "a/b/d", "a/e"]
    assert (await consul.get("/v1/kv/a/?keys&separator=/")).json == ["a/b/", "a/e"]
    assert (await consul.get("/v1/kv/?keys&separator=/")).json == ["a/", "ab", "z"]
    assert (await consul.ask("DELETE", "/v1/kv/a/?recurse")).json is True
    assert (await consul.get("/v1/kv/?keys")).json == ["ab", "z"]
    assert (await consul.ask("DELETE", "/v1/kv/z")).json is True
    assert (await consul.ask("DELETE", "/v1/kv/z")).json is True
    await consul.ask("DELETE", "/v1/kv/?recurse")
    assert (await consul.get("/v1/kv/?keys")).json == []


async def test_cas_writes_only_what_was_not_changed(consul: Consul) -> None:
    assert (await consul.put("/v1/kv/a?cas=0", b"1")).json is True
    assert (await consul.put("/v1/kv/a?cas=0", b"2")).json is False
    index = (await consul.get("/v1/kv/a")).json[0]["ModifyIndex"]
    assert (await consul.put(f"/v1/kv/a?cas={index}", b"2")).json is True
    assert (await consul.put(f"/v1/kv/a?cas={index}", b"3")).json is False
    assert (await consul.ask("DELETE", f"/v1/kv/a?cas={index}")).json is False
    index = (await consul.get("/v1/kv/a")).json[0]["ModifyIndex"]
    assert (await consul.ask("DELETE", f"/v1/kv/a?cas={index}")).json is True


async def test_of_many_that_count_at_once_by_cas_none_is_lost(consul: Consul) -> None:
    await consul.put("/v1/kv/count", b"0")

    async def count() -> None:
        while True:
            (entry,) = (await consul.get("/v1/kv/count")).json
            new = str(int(value(entry)) + 1).encode()
            if (await consul.put(f"/v1/kv/count?cas={entry['ModifyIndex']}", new)).json:
                return

    await asyncio.gather(*(count() for _ in range(20)))
    assert value((await consul.get("/v1/kv/count")).json[0]) == b"20"


async def test_lock_is_one_sessions_until_it_lets_go(consul: Consul) -> None:
    one, two = await session(consul), await session(consul)
    assert (await consul.put(f"/v1/kv/leader?acquire={one}", b"one")).json is True
    assert (await consul.put(f"/v1/kv/leader?acquire={two}", b"two")).json is False
    assert (await consul.put(f"/v1/kv/leader?acquire={one}", b"one again")).json is True
    (entry,) = (await consul.get("/v1/kv/leader")).json
    assert (entry["Session"], entry["LockIndex"], value(entry)) == (one, 1, b"one again")
    assert (await consul.put("/v1/kv/leader", b"advisory")).json is True
    assert (await consul.get("/v1/kv/leader")).json[0]["Session"] == one
    assert (await consul.put(f"/v1/kv/leader?release={two}", b"")).json is False
    assert (await consul.put(f"/v1/kv/leader?release={one}", b"")).json is True
    assert (await consul.put(f"/v1/kv/leader?acquire={two}", b"two")).json is True
    (entry,) = (await consul.get("/v1/kv/leader")).json
    assert (entry["Session"], entry["LockIndex"]) == (two, 2)


async def test_lock_for_no_session_is_an_error_of_the_client(consul: Consul) -> None:
    told = await consul.put("/v1/kv/leader?acquire=nobody", b"")
    assert (told.status, told.text) == (500, 'invalid session "nobody"')
    told = await consul.put("/v1/kv/leader?acquire=", b"")
    assert (told.status, told.text) == (500, "missing session")


async def test_session_that_is_destroyed_lets_go_and_wakes_who_waits(consul: Consul) -> None:
    one, two = await session(consul), await session(consul)
    await consul.put(f"/v1/kv/leader?acquire={one}", b"one")
    before = await consul.get("/v1/kv/leader")
    waiting = await consul.begin(f"/v1/kv/leader?index={before.index}&wait=60s")
    assert (await consul.put(f"/v1/session/destroy/{one}")).json is True
    told = await waiting
    assert "Session" not in told.json[0]
    assert told.index > before.index
    assert (await consul.put(f"/v1/kv/leader?acquire={two}", b"two")).json is True
    assert (await consul.put(f"/v1/session/destroy/{one}")).json is True, "once more is harmless"


async def test_key_goes_with_its_session_when_that_says_so(consul: Consul) -> None:
    one = await session(consul, Behavior="delete")
    await consul.put(f"/v1/kv/leader?acquire={one}", b"one")
    await consul.put(f"/v1/session/destroy/{one}")
    assert (await consul.get("/v1/kv/leader")).status == 404


async def test_lock_delay_keeps_a_lock_from_the_next_one(consul: Consul) -> None:
    one, two = await session(consul, LockDelay="30s"), await session(consul)
    await consul.put(f"/v1/kv/leader?acquire={one}", b"one")
    await consul.put(f"/v1/kv/other?acquire={one}", b"one")
    await consul.put(f"/v1/kv/other?release={one}", b"one")
    await consul.put(f"/v1/session/destroy/{one}")
    assert (await consul.put(f"/v1/kv/leader?acquire={two}", b"two")).json is False
    assert (await consul.put(f"/v1/kv/other?acquire={two}", b"two")).json is True, (
        "it let go itself"
    )
    assert (await consul.put("/v1/kv/leader", b"x")).json is True, "it keeps nobody from writing"


async def test_session_that_is_not_renewed_ends_after_its_ttl(consul: Consul) -> None:
    one = await session(consul, TTL="1s", Behavior="delete")
    await consul.put(f"/v1/kv/leader?acquire={one}", b"one")
    (renewed,) = (await consul.put(f"/v1/session/renew/{one}")).json
    assert renewed["ID"] == one
    before = await consul.get("/v1/kv/leader")
    told = await consul.get(f"/v1/kv/leader?index={before.index}&wait=60s")
    assert told.status == 404
    assert (await consul.put(f"/v1/session/renew/{one}")).status == 404
    assert (await consul.get(f"/v1/session/info/{one}")).json == []


async def test_what_a_session_held_is_let_go_of_by_a_node_that_starts_later(
    consul: Consul,
) -> None:
    one = await session(consul)
    await consul.put(f"/v1/kv/leader?acquire={one}", b"one")
    await consul.store.delete(f"/moreton/consul/sessions/{one}".encode())
    async with serving(consul.store) as other:
        while "Session" in (await other.get("/v1/kv/leader")).json[0]:
            await asyncio.sleep(0)


async def test_sessions_are_shown_as_they_were_asked_for(consul: Consul) -> None:
    one = await session(consul, Name="migration", TTL="90s", LockDelay="5s")
    (shown,) = (await consul.get(f"/v1/session/info/{one}")).json
    assert shown == (await consul.get("/v1/session/list")).json[0]
    assert shown == (await consul.get("/v1/session/node/moreton")).json[0]
    assert (await consul.get("/v1/session/node/other")).json == []
    assert shown["LockDelay"] == 5_000_000_000
    assert (shown["TTL"], shown["Name"], shown["Node"]) == ("90s", "migration", "moreton")
    assert shown["NodeChecks"] == ["serfHealth"]
    assert shown["Behavior"] == "release"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Behavior": "explode"}, 400, "Invalid Behavior setting 'explode'"),
        ({"TTL": "forever"}, 400, "Session TTL 'forever' invalid"),
        ({"TTL": "100ms"}, 400, "must be between [1s, 24h0m0s]"),
        ({"LockDelay": "61s"}, 400, "LockDelay 1m1s is outside 0s to 1m0s"),
        ({"Node": "elsewhere"}, 500, "Missing node registration: 'elsewhere'"),
        ({"ServiceChecks": [{"ID": "x"}]}, 500, "Missing check 'x' registration"),
        ([], 400, "the session is a list, expected an object"),
    ],
)
async def test_session_that_cannot_be_is_refused_with_the_reason(
    consul: Consul, body: Any, status: int, text: str
) -> None:
    told = await consul.put("/v1/session/create", body)
    assert told.status == status
    assert text in told.text


async def test_session_ends_with_the_service_check_that_it_hangs_on(consul: Consul) -> None:
    await consul.register(ID="one", Check={"TTL": "60s", "Status": "passing"})
    own = await session(consul, ServiceChecks=[{"ID": "service:one"}])
    await consul.put(f"/v1/kv/leader?acquire={own}", b"one")
    before = await consul.get("/v1/kv/leader")
    waiting = await consul.begin(f"/v1/kv/leader?index={before.index}&wait=60s")
    await consul.put("/v1/agent/check/fail/service:one?note=disk")
    assert "Session" not in (await waiting).json[0]
    told = await consul.put("/v1/session/create", {"ServiceChecks": [{"ID": "service:one"}]})
    assert told.text == "Check 'service:one' is in critical state"


@pytest.mark.parametrize(
    ("method", "target", "status", "text"),
    [
        ("PUT", "", 400, "Missing key name"),
        ("GET", "", 400, "Missing key name"),
        ("DELETE", "", 400, "Missing key name"),
        ("PUT", "a?cas=1&acquire=x", 400, "Conflicting flags: cas and acquire"),
        ("DELETE", "a?cas=1&recurse", 400, "Conflicting flags: recurse and cas"),
        ("PUT", "a?cas=-1", 400, "Invalid value for cas"),
        ("PUT", "a?flags=18446744073709551616", 400, "Invalid value for flags"),
        ("PUT", "k" * 600, 400, "has 600 characters"),
        ("POST", "a", 405, "method POST not allowed; use DELETE, GET, PUT"),
    ],
)
async def test_request_that_cannot_be_is_refused_with_the_reason(
    consul: Consul, method: str, target: str, status: int, text: str
) -> None:
    told = await consul.ask(method, f"/v1/kv/{target}", b"x")
    assert told.status == status
    assert text in told.text


async def test_value_above_half_a_mebibyte_is_refused(consul: Consul) -> None:
    assert (await consul.put("/v1/kv/large", b"x" * 512 * 1024)).json is True
    told = await consul.put("/v1/kv/large", b"x" * (512 * 1024 + 1))
    assert told.status == 413
    assert "too large, max size: 524288 bytes" in told.text

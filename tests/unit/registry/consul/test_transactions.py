"""`/v1/txn`: all of it, or nothing."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from unit.registry.consul.asking import Consul, Told


def kv(verb: str, key: str, value: bytes | None = None, **more: Any) -> dict[str, Any]:
    encoded = {} if value is None else {"Value": base64.b64encode(value).decode()}
    return {"KV": {"Verb": verb, "Key": key, **encoded, **more}}


async def txn(consul: Consul, *operations: dict[str, Any]) -> Told:
    return await consul.put("/v1/txn", list(operations))


async def keys(consul: Consul) -> list[str]:
    found: list[str] = (await consul.get("/v1/kv/?keys")).json
    return found


async def test_operations_see_what_those_before_them_did(consul: Consul) -> None:
    told = await txn(
        consul,
        kv("check-not-exists", "a"),
        kv("set", "a", b"1", Flags=7),
        kv("get", "a"),
        kv("set", "b", b"2"),
        kv("get-tree", ""),
        kv("delete", "a"),
        kv("get-or-empty", "a"),
    )
    assert told.status == 200, told.text
    assert told.json["Errors"] is None
    shown = [(each["KV"]["Key"], each["KV"]["Value"]) for each in told.json["Results"]]
    one, two = (base64.b64encode(each).decode() for each in (b"1", b"2"))
    assert shown == [
        ("a", None),
        ("a", one),
        ("b", None),
        ("a", one),
        ("b", two),
        ("a", None),
    ]
    assert await keys(consul) == ["b"]
    (entry,) = (await consul.get("/v1/kv/b")).json
    assert told.json["Results"][2]["KV"]["ModifyIndex"] == entry["ModifyIndex"]


async def test_one_that_fails_undoes_all_and_each_that_fails_is_told(consul: Consul) -> None:
    await consul.put("/v1/kv/there", b"x")
    told = await txn(
        consul,
        kv("set", "new", b"1"),
        kv("get", "missing"),
        kv("cas", "there", b"2", Index=1),
        kv("check-not-exists", "there"),
        kv("explode", "there"),
    )
    assert told.status == 409
    assert told.json == {
        "Results": None,
        "Errors": [
            {"OpIndex": 1, "What": 'key "missing" doesn\'t exist'},
            {"OpIndex": 2, "What": 'failed to set key "there", index is stale'},
            {"OpIndex": 3, "What": 'key "there" exists'},
            {"OpIndex": 4, "What": 'unknown KV verb "explode"'},
        ],
    }
    assert await keys(consul) == ["there"]


async def test_trees_are_deleted_and_made_anew_in_one(consul: Consul) -> None:
    for number in range(300):
        await consul.put(f"/v1/kv/tree/{number:03}", b"x")
    told = await txn(consul, kv("get-tree", "tree/1"), kv("delete-tree", "tree/"))
    assert len(told.json["Results"]) == 100
    assert await keys(consul) == []
    for key in ("t/a", "t/b"):
        await consul.put(f"/v1/kv/{key}", b"x")
    await txn(consul, kv("delete-tree", "t/"), kv("set", "t/c", b"y"))
    assert await keys(consul) == ["t/c"]


async def test_locks_and_their_checks(consul: Consul) -> None:
    one = (await consul.put("/v1/session/create")).json["ID"]
    told = await txn(
        consul,
        kv("lock", "leader", b"one", Session=one),
        kv("check-session", "leader", Session=one),
        kv("set", "leader/task", b"1"),
    )
    assert told.json["Results"][0]["KV"]["Session"] == one
    told = await txn(consul, kv("check-session", "leader", Session="other"))
    assert told.status == 409
    assert "current session" in told.json["Errors"][0]["What"]
    index = (await consul.get("/v1/kv/leader")).json[0]["ModifyIndex"]
    assert (await txn(consul, kv("check-index", "leader", Index=index))).status == 200
    assert (await txn(consul, kv("check-index", "leader", Index=1))).status == 409
    assert (await txn(consul, kv("unlock", "leader", b"", Session=one))).status == 200
    assert (await txn(consul, kv("unlock", "leader", b"", Session=one))).status == 409
    assert (await txn(consul, kv("delete-cas", "leader", Index=1))).status == 409
    assert (await txn(consul, kv("delete-cas", "missing", Index=1))).status == 200


async def test_transactions_at_once_never_mix(consul: Consul) -> None:
    """Each moves one from a key to the other; what both hold together stays the same."""
    for key in ("left", "right"):
        await consul.put(f"/v1/kv/{key}", b"50")

    async def move(source: str, target: str) -> None:
        while True:
            held = {key: (await consul.get(f"/v1/kv/{key}")).json[0] for key in (source, target)}
            amounts = {k: int(base64.b64decode(each["Value"])) for k, each in held.items()}
            amounts[source] -= 1
            amounts[target] += 1
            operations = [
                kv("cas", key, str(amount).encode(), Index=held[key]["ModifyIndex"])
                for key, amount in amounts.items()
            ]
            if (await txn(consul, *operations)).status == 200:
                return

    moves = [move("left", "right") for _ in range(10)] + [move("right", "left") for _ in range(4)]
    await asyncio.gather(*moves)
    found = (await consul.get("/v1/kv/?recurse")).json
    assert [base64.b64decode(each["Value"]) for each in found] == [b"44", b"56"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "not a list"),
        ([{}], 400, "about nothing"),
        ([{"Node": {"Verb": "get"}}], 400, "about node, and transactions are about KV only"),
        ([kv("get", "")], 400, "Missing key name"),
        ([{"KV": {"Verb": "set", "Key": "a", "Value": "!"}}], 400, "failed to decode value"),
        ([{"KV": {"Verb": "set", "Key": "a", "Value": 3}}], 400, "value is 3, expected a string"),
        ([{"KV": {"Verb": "set", "Key": "a", "Index": -1}}], 400, "index -1 is below 0"),
        ([kv("set", "a", b"x")] * 129, 413, "too many operations (129 > 128)"),
        ([kv("set", "a", b"x" * 524_289)], 413, "is too large (524289 > 524288 bytes)"),
        (b"{", 400, "Request decode failed"),
        (b"[" * 100_000, 400, "Request decode failed"),
    ],
)
async def test_body_that_is_no_transaction_is_refused_with_the_reason(
    consul: Consul, body: Any, status: int, text: str
) -> None:
    told = await consul.put("/v1/txn", body)
    assert told.status == status
    assert text in told.text


async def test_largest_transaction_is_done(consul: Consul) -> None:
    told = await txn(consul, *(kv("set", f"k{number}", b"x") for number in range(128)))
    assert told.status == 200, told.text
    assert len(await keys(consul)) == 128


async def test_128_locks_at_once_are_taken(consul: Consul) -> None:
    one = (await consul.put("/v1/session/create")).json["ID"]
    told = await txn(consul, *(kv("lock", f"k{n}", b"", Session=one) for n in range(126)))
    assert told.status == 200, told.text
    await consul.put(f"/v1/session/destroy/{one}")
    found = (await consul.get("/v1/kv/?recurse")).json
    assert len(found) == 126
    assert not any("Session" in each for each in found)

"""Each reading endpoint against the fields that Consul documents and its clients dereference."""

from __future__ import annotations

from typing import Any

import pytest

from unit.registry.consul.asking import Consul

# A leaf is a type, or several; a list holds the shape of each of its elements, which are there.
NODE = {
    "ID": str,
    "Node": str,
    "Address": str,
    "Datacenter": str,
    "TaggedAddresses": {"lan": str, "wan": str},
    "Meta": dict,
    "CreateIndex": int,
    "ModifyIndex": int,
}
WEIGHTS = {"Passing": int, "Warning": int}
SERVICE = {
    "ID": str,
    "Service": str,
    "Tags": list,
    "Address": str,
    "TaggedAddresses": dict,
    "Meta": dict,
    "Port": int,
    "Weights": WEIGHTS,
    "EnableTagOverride": bool,
    "CreateIndex": int,
    "ModifyIndex": int,
}
CHECK = {
    "Node": str,
    "CheckID": str,
    "Name": str,
    "Status": str,
    "Notes": str,
    "Output": str,
    "ServiceID": str,
    "ServiceName": str,
    "ServiceTags": list,
    "Type": str,
    "Definition": dict,
    "CreateIndex": int,
    "ModifyIndex": int,
}
CATALOG = {
    "ID": str,
    "Node": str,
    "Address": str,
    "Datacenter": str,
    "TaggedAddresses": dict,
    "NodeMeta": dict,
    "ServiceID": str,
    "ServiceName": str,
    "ServiceAddress": str,
    "ServicePort": int,
    "ServiceTags": list,
    "ServiceMeta": dict,
    "ServiceTaggedAddresses": dict,
    "ServiceWeights": WEIGHTS,
    "ServiceEnableTagOverride": bool,
    "CreateIndex": int,
    "ModifyIndex": int,
}
AGENT = {key: SERVICE[key] for key in SERVICE if not key.endswith("Index")}
SESSION = {
    "ID": str,
    "Name": str,
    "Node": str,
    "LockDelay": int,
    "Behavior": str,
    "TTL": str,
    "NodeChecks": list,
    "ServiceChecks": (list, type(None)),
    "CreateIndex": int,
    "ModifyIndex": int,
}
KEY = {
    "LockIndex": int,
    "Key": str,
    "Flags": int,
    "Value": str,
    "CreateIndex": int,
    "ModifyIndex": int,
}
MEMBER = {"Name": str, "Addr": str, "Port": int, "Tags": dict, "Status": int}
HEALTH = {"AggregatedStatus": str, "Service": AGENT, "Checks": [CHECK]}
CONFIG = {"Datacenter": str, "NodeName": str, "NodeID": str, "Server": bool, "Version": str}
# Path below /v1, its shape, and whether it answers with an index and can be waited for.
ENDPOINTS: list[tuple[str, Any, bool]] = [
    ("agent/self", {"Config": CONFIG, "Member": MEMBER, "Meta": dict}, False),
    ("agent/members", [MEMBER], False),
    ("agent/services", {"one": AGENT}, False),
    ("agent/service/one", {**AGENT, "ContentHash": str}, False),
    ("agent/checks", {"service:one": CHECK}, False),
    ("agent/health/service/id/one", HEALTH, False),
    ("agent/health/service/name/orders", [HEALTH], False),
    ("catalog/datacenters", [str], False),
    ("catalog/services", {"orders": [str]}, True),
    ("catalog/service/orders", [CATALOG], True),
    ("catalog/nodes", [NODE], True),
    ("catalog/node/moreton", {"Node": NODE, "Services": {"one": SERVICE}}, True),
    ("catalog/node-services/moreton", {"Node": NODE, "Services": [SERVICE]}, True),
    ("catalog/node/elsewhere", type(None), True),
    ("health/service/orders", [{"Node": NODE, "Service": SERVICE, "Checks": [CHECK]}], True),
    ("health/checks/orders", [CHECK], True),
    ("health/state/any", [CHECK], True),
    ("health/state/passing", [CHECK], True),
    ("health/node/moreton", [CHECK], True),
    ("status/leader", str, False),
    ("status/peers", [str], False),
    ("kv/locked", [{**KEY, "Session": str}], True),
    ("kv/?recurse", [KEY], True),
    ("kv/?keys", [str], True),
    ("session/list", [SESSION], True),
    ("session/node/moreton", [SESSION], True),
]


def check(found: Any, shape: Any, where: str) -> None:
    if isinstance(shape, dict):
        assert isinstance(found, dict), where
        assert shape.keys() <= found.keys(), f"{where}: {shape.keys() - found.keys()}"
        for key, inner in shape.items():
            check(found[key], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(found, list), where
        assert found, f"{where} is empty"
        for each in found:
            check(each, shape[0], f"{where}[]")
    else:
        assert isinstance(found, shape), f"{where} is {found!r}"
        assert shape is not int or not isinstance(found, bool), where


@pytest.mark.parametrize(("path", "shape", "has_index"), ENDPOINTS, ids=[e[0] for e in ENDPOINTS])
async def test_endpoint_has_the_documented_shape(
    consul: Consul,
    path: str,
    shape: Any,
    has_index: bool,  # noqa: FBT001 - a table's column
) -> None:
    await consul.register(ID="one", Tags=["blue"], Check={"TTL": "60s", "Status": "passing"})
    session = (await consul.put("/v1/session/create", {"TTL": "60s"})).json["ID"]
    await consul.put(f"/v1/kv/locked?acquire={session}", b"x")
    told = await consul.get(f"/v1/{path}")
    assert told.status == 200, told.text
    assert told.headers["content-type"] == "application/json"
    check(told.json, shape, path)
    if has_index:
        assert told.index >= 1
        assert told.headers["x-consul-knownleader"] == "true"
        assert told.headers["x-consul-lastcontact"] == "0"
        assert told.headers["x-consul-effective-consistency"] == "leader"
        assert told.headers["x-consul-default-acl-policy"] == "deny"
        assert told.headers["x-consul-query-backend"] == "blocking-query"
        stale = await consul.get(f"/v1/{path}{'&' if '?' in path else '?'}stale")
        assert stale.headers["x-consul-effective-consistency"] == "stale"
        assert stale.json == told.json
    session_told = await consul.get(f"/v1/session/info/{session}")
    check(session_told.json, [SESSION], "session/info")


async def test_catalog_and_health_name_the_same_instances_in_the_same_order(
    consul: Consul,
) -> None:
    """Traefik takes the i-th of one and the i-th of the other for the same instance."""
    for name in ("c", "a", "b"):
        await consul.register(ID=name, Tags=["blue"] if name != "b" else ["blue", "green"])
    for tags, expected in (("", "abc"), ("?tag=blue", "abc"), ("?tag=blue&tag=GREEN", "b")):
        catalog = (await consul.get(f"/v1/catalog/service/orders{tags}")).json
        health = (await consul.get(f"/v1/health/service/orders{tags}")).json
        ids = [each["ServiceID"] for each in catalog]
        assert ids == [each["Service"]["ID"] for each in health] == list(expected)


async def test_node_meta_and_datacenter_choose(consul: Consul) -> None:
    await consul.register(ID="one")
    assert (await consul.get("/v1/catalog/services?node-meta=rack:7")).json == {}
    assert (await consul.get("/v1/health/service/orders?node-meta=rack:7")).json == []
    assert (await consul.get("/v1/catalog/nodes?node-meta=rack:7")).json == []
    assert len((await consul.get("/v1/health/service/orders?dc=DC1&near=_agent")).json) == 1
    told = await consul.get("/v1/health/service/orders?dc=dc9")
    assert (told.status, told.text) == (500, "No path to datacenter: dc9")


async def test_answers_of_the_agents_cache_say_so(consul: Consul) -> None:
    told = await consul.get("/v1/health/service/orders?cached")
    assert (told.headers["x-cache"], told.headers["age"]) == ("HIT", "0")
    assert "x-cache" not in (await consul.get("/v1/health/service/orders")).headers


async def test_same_id_in_two_services_is_shown_twice(consul: Consul) -> None:
    await consul.register_own("same", "orders")
    await consul.register_own("same", "billing")
    services = (await consul.get("/v1/catalog/node/moreton")).json["Services"]
    assert sorted(services) == ["orders:same", "same"]
    told = await consul.put("/v1/agent/service/deregister/same")
    assert told.status == 400
    assert 'service ID "same" is that of instances of billing, orders' in told.text


async def test_pretty_json_is_the_same_and_has_lines(consul: Consul) -> None:
    plain = await consul.get("/v1/agent/self")
    pretty = await consul.get("/v1/agent/self?pretty")
    assert pretty.json == plain.json
    assert b"\n    " in pretty.body


async def test_answer_is_made_once_for_each_change(consul: Consul) -> None:
    await consul.register(ID="one")
    first = await consul.get("/v1/health/service/orders")
    catalog = consul.api._catalog
    answers = dict(catalog._answers)
    assert (await consul.get("/v1/health/service/orders")).body == first.body
    assert dict(catalog._answers) == answers
    await consul.register(ID="two")
    assert len((await consul.get("/v1/health/service/orders")).json) == 2

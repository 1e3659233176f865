"""Registering by Consul's agent: what becomes of it in the registry, and how it is shown."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from moreton.registry import InstanceState
from moreton.registry.consul.registrar import resolve
from moreton.registry.core.checks import CommandProbe, GrpcProbe, HttpProbe, TcpProbe, TtlProbe
from moreton.registry.core.standing import InstanceKind, InstanceSource
from unit.registry.consul.asking import Consul, Told, serving


async def instance(consul: Consul, service: str = "orders") -> Any:
    (found,) = (await consul.registry.instances(service)).instances
    return found


async def statuses(consul: Consul, service: str = "orders") -> dict[str, str]:
    found = (await consul.get(f"/v1/health/checks/{service}")).json
    return {each["CheckID"]: each["Status"] for each in found}


async def passing(consul: Consul, service: str = "orders") -> list[str]:
    found = (await consul.get(f"/v1/health/service/{service}?passing=1")).json
    return [each["Service"]["ID"] for each in found]


async def test_service_of_consul_is_an_instance_of_moreton(consul: Consul) -> None:
    await consul.register(
        ID="one",
        Tags=["blue", "v2"],
        Meta={"Team_Name": "fig"},
        Weights={"Passing": 7, "Warning": 3},
        Locality={"Region": "r", "Zone": "east"},
        EnableTagOverride=True,
    )
    found = await instance(consul)
    assert (found.id, found.endpoint, found.zone, found.weight) == (
        "one",
        "10.0.0.1:8000",
        "east",
        7,
    )
    assert (found.kind, found.source) == (InstanceKind.PERSISTENT, InstanceSource.CONSUL)
    assert dict(found.metadata) == {"Team_Name": "fig"}
    (shown,) = (await consul.get("/v1/catalog/service/orders")).json
    assert shown["ServiceWeights"] == {"Passing": 7, "Warning": 3}
    assert shown["ServiceEnableTagOverride"] is True
    assert shown["ServiceMeta"] == {"Team_Name": "fig"}
    assert shown["ServiceLocality"] == {"Region": "", "Zone": "east"}


async def test_keys_are_read_whatever_their_case_and_underscores(consul: Consul) -> None:
    body = {
        "name": "orders",
        "id": "one",
        "port": 8000,
        "address": "10.0.0.1",
        "enable_tag_override": True,
        "check": {
            "name": "web",
            "http": "http://10.0.0.1:8000/health?deep=1",
            "interval": "10s",
            "timeout": "1500ms",
            "tls_skip_verify": True,
            "DeregisterCriticalServiceAfter": "1m30s",
            "Header": {"X_Some": ["a", "b"]},
        },
    }
    assert (await consul.put("/v1/agent/service/register", body)).status == 200
    (check,) = (await instance(consul)).checks
    assert isinstance(check.probe, HttpProbe)
    assert (check.probe.path, check.probe.target.port) == ("/health?deep=1", 8000)
    assert dict(check.probe.headers) == {"X_Some": "a, b"}
    assert (check.interval, check.timeout) == (timedelta(seconds=10), timedelta(seconds=1.5))
    assert check.deregister_after == timedelta(seconds=90)
    (shown,) = (await consul.get("/v1/health/checks/orders")).json
    assert (shown["Name"], shown["Type"]) == ("web", "http")
    assert (shown["Interval"], shown["Timeout"]) == ("10s", "1.5s")


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        ({"TTL": "30s"}, TtlProbe),
        ({"TCP": "10.0.0.1:8000", "Interval": "5s"}, TcpProbe),
        ({"GRPC": "10.0.0.1:8000/orders", "GRPCUseTLS": True, "Interval": "5s"}, GrpcProbe),
        ({"grpc": "10.0.0.1:8000", "grpc_use_tls": True, "interval": "5s"}, GrpcProbe),
        ({"HTTP": "https://shop.example/", "Interval": "5s"}, HttpProbe),
    ],
)
async def test_every_kind_of_check_becomes_one_of_moretons(
    consul: Consul, check: dict[str, Any], kind: type
) -> None:
    await consul.register(ID="one", Check=check)
    (found,) = (await instance(consul)).checks
    assert found.id == "service:one"
    assert isinstance(found.probe, kind)
    assert not found.is_active or found.failures == 1, "with Consul the first one counts"
    if isinstance(found.probe, GrpcProbe):
        assert found.probe.tls


async def test_program_is_run_only_where_the_owner_allows_it(consul: Consul) -> None:
    body = {"Name": "orders", "Port": 1, "Check": {"Args": ["true"], "Interval": "5s"}}
    told = await consul.put("/v1/agent/service/register", body)
    assert told.status == 400
    assert "Scripts are disabled on this agent" in told.text
    assert (await consul.get("/v1/catalog/services")).json == {}
    async with serving(script_checks=True) as other:
        assert (await other.put("/v1/agent/service/register", body)).status == 200
        (check,) = (await instance(other)).checks
        assert check.probe == CommandProbe(("true",))


async def test_check_with_a_ttl_is_critical_until_told_otherwise(consul: Consul) -> None:
    await consul.register(ID="one", Check={"TTL": "60s"})
    assert await statuses(consul) == {"service:one": "critical"}
    assert await passing(consul) == []
    assert (await consul.put("/v1/agent/check/pass/service:one?note=fine")).body == b""
    assert await passing(consul) == ["one"]
    assert (await instance(consul)).state is InstanceState.SERVING
    (shown,) = (await consul.get("/v1/health/checks/orders")).json
    assert (shown["Output"], shown["Type"], shown["ServiceID"]) == ("fine", "ttl", "one")
    await consul.put("/v1/agent/check/warn/service:one")
    assert await statuses(consul) == {"service:one": "warning"}
    assert await passing(consul) == []
    assert (await instance(consul)).state is InstanceState.SERVING
    await consul.put("/v1/agent/check/fail/service:one")
    assert (await instance(consul)).state is InstanceState.CRITICAL
    update = {"Status": "passing", "Output": "all is well"}
    await consul.put("/v1/agent/check/update/service:one", update)
    assert await passing(consul) == ["one"]


async def test_ttl_that_is_not_renewed_takes_the_instance_out_and_leaves_it_registered(
    consul: Consul,
) -> None:
    await consul.register(ID="one", Check={"TTL": "1s", "Status": "passing"})
    told = await consul.get("/v1/health/service/orders?passing")
    assert len(told.json) == 1
    told = await consul.get(f"/v1/health/service/orders?passing&index={told.index}&wait=60s")
    assert told.json == []
    assert await statuses(consul) == {"service:one": "critical"}


async def test_service_of_which_most_fall_at_once_is_kept_in_use_and_says_so(
    consul: Consul,
) -> None:
    names = ["a", "b", "c", "d"]
    for name in names:
        await consul.register(ID=name, Check={"TTL": "60s", "Status": "passing"})
    await consul.put("/v1/agent/check/fail/service:a?note=disk")
    assert await passing(consul) == ["b", "c", "d"]
    for name in ("b", "c"):
        await consul.put(f"/v1/agent/check/fail/service:{name}?note=disk")
    assert await passing(consul) == names
    found = (await consul.get("/v1/health/checks/orders")).json
    outputs = {each["ServiceID"]: each["Output"] for each in found}
    assert outputs["a"].startswith("kept in use, as too many of its service fell at once")
    assert "disk" in outputs["a"]
    await consul.put("/v1/agent/check/pass/service:a")
    await consul.put("/v1/agent/check/pass/service:b")
    assert await passing(consul) == ["a", "b", "d"]


async def test_renewals_write_nothing_to_the_store(consul: Consul) -> None:
    await consul.register(ID="one", Check={"TTL": "60s", "Status": "passing"})
    before = consul.store.statistics().revision
    for _ in range(10):
        await consul.put("/v1/agent/check/pass/service:one")
    assert consul.store.statistics().revision == before


async def test_registering_again_keeps_what_is_known_of_checks(consul: Consul) -> None:
    body: dict[str, Any] = {"ID": "one", "Check": {"CheckID": "ttl", "TTL": "60s"}}
    await consul.register(**body)
    await consul.put("/v1/agent/check/pass/ttl")
    await consul.register(**body, Tags=["new"])
    assert await passing(consul) == ["one"]
    await consul.register(ID="one")
    assert await statuses(consul) == {"ttl": "passing"}, "those not named stay"
    told = await consul.put(
        "/v1/agent/service/register?replace-existing-checks=true",
        {"Name": "orders", "ID": "one", "Port": 8000, "Address": "10.0.0.1"},
    )
    assert told.status == 200
    assert await statuses(consul) == {"service:one": "passing"}, "the one that says it is there"


async def test_checks_come_and_go_by_themselves(consul: Consul) -> None:
    await consul.register(ID="one")
    check = {"ID": "extra", "Name": "Extra", "Notes": "why", "ServiceID": "one", "TTL": "60s"}
    assert (await consul.put("/v1/agent/check/register", check)).status == 200
    assert await statuses(consul) == {"extra": "critical"}
    listed = (await consul.get("/v1/agent/checks")).json
    assert (listed["extra"]["Name"], listed["extra"]["Notes"]) == ("Extra", "why")
    assert (await consul.put("/v1/agent/check/deregister/extra")).status == 200
    assert await statuses(consul) == {"service:one": "passing"}
    told = await consul.put("/v1/agent/check/deregister/extra")
    assert told.status == 404
    assert 'Unknown check ID "extra"' in told.text


async def test_checks_of_one_service_have_numbers(consul: Consul) -> None:
    await consul.register(ID="one", Checks=[{"TTL": "60s"}, {"TTL": "60s", "CheckID": "own"}])
    assert set(await statuses(consul)) == {"service:one:1", "own"}


async def test_maintenance_takes_out_and_comes_back(consul: Consul) -> None:
    await consul.register(ID="one", Check={"TTL": "60s", "Status": "passing"})
    target = "/v1/agent/service/maintenance/one"
    assert (await consul.put(f"{target}?enable=true&reason=new+disk")).status == 200
    assert await statuses(consul) == {
        "service:one": "passing",
        "_service_maintenance:one": "critical",
    }
    assert (await instance(consul)).state is InstanceState.MAINTENANCE
    found = (await consul.get("/v1/health/checks/orders")).json
    assert "new disk" in [each["Notes"] for each in found]
    assert (await consul.get("/v1/agent/health/service/id/one")).json["AggregatedStatus"] == (
        "maintenance"
    )
    await consul.register(ID="one", Check={"TTL": "60s", "Status": "passing"})
    assert await passing(consul) == [], "registering again does not end it"
    await consul.put(f"{target}?enable=false")
    assert await passing(consul) == ["one"]


async def test_id_moves_along_with_the_name_and_the_port(consul: Consul) -> None:
    await consul.register("orders", ID="one")
    await consul.register("billing", ID="one")
    assert (await consul.get("/v1/catalog/services")).json == {"billing": []}
    await consul.register("billing", ID="one", Port=9999)
    (shown,) = (await consul.get("/v1/catalog/service/billing")).json
    assert shown["ServicePort"] == 9999


async def test_id_of_a_living_instance_on_another_machine_is_not_taken(consul: Consul) -> None:
    await consul.register(ID="one", Check={"TTL": "60s", "Status": "passing"})
    body = {"Name": "orders", "ID": "one", "Port": 8000, "Address": "10.0.0.2"}
    told = await consul.put("/v1/agent/service/register", body)
    assert told.status == 500
    assert 'instance "one" of service "orders" lives at 10.0.0.1:8000' in told.text
    await consul.put("/v1/agent/service/maintenance/one?enable=true&reason=x")
    await consul.put("/v1/agent/service/maintenance/one?enable=false")
    await consul.put("/v1/agent/check/fail/service:one")
    assert (await consul.put("/v1/agent/service/register", body)).status == 200
    assert (await instance(consul)).address == "10.0.0.2"


async def test_instance_of_moreton_is_seen_and_can_be_put_into_maintenance(
    consul: Consul,
) -> None:
    await consul.register_own("mine")
    assert await passing(consul) == ["mine"]
    assert (await consul.get("/v1/agent/services")).json == {}, "the agent did not register it"
    assert (await consul.get("/v1/agent/service/mine")).json["Port"] == 9000
    await consul.put("/v1/agent/service/maintenance/mine?enable=true")
    assert await passing(consul) == []
    told = await consul.put(
        "/v1/agent/check/register", {"Name": "x", "ServiceID": "mine", "TTL": "5s"}
    )
    assert told.status == 400
    assert "its checks are not changed by this API" in told.text
    await consul.put("/v1/agent/service/deregister/mine")
    assert (await consul.get("/v1/catalog/services")).json == {}


@pytest.mark.parametrize(
    "state", [InstanceState.STARTING, InstanceState.DRAINING, InstanceState.CRITICAL]
)
async def test_instance_that_takes_no_requests_is_critical_to_consuls_clients(
    consul: Consul, state: InstanceState
) -> None:
    await consul.register_own("mine", state=state)
    assert await statuses(consul) == {"service:mine": "critical"}
    assert await passing(consul) == []


async def test_service_without_an_address_has_the_agents_and_names_are_resolved(
    consul: Consul,
) -> None:
    for given, found in (("", "127.0.0.1"), ("shop.example", "10.1.2.3"), ("fd00::7", "fd00::7")):
        await consul.register(ID="one", Address=given)
        assert (await instance(consul)).address == found
    body = {"Name": "orders", "Port": 80, "Address": "nowhere.example"}
    told = await consul.put("/v1/agent/service/register", body)
    assert told.status == 400
    assert "cannot be resolved (name or service not known)" in told.text


async def test_names_are_resolved_by_the_machine() -> None:
    assert await resolve("localhost") in {"127.0.0.1", "::1"}


async def test_health_of_the_agents_services_is_a_status_for_load_balancers(
    consul: Consul,
) -> None:
    async def ask(target: str) -> Told:
        return await consul.get(f"/v1/agent/health/service/{target}")

    assert (await ask("id/one")).status == 404
    assert (await ask("name/orders")).status == 404
    await consul.register(ID="one", Check={"TTL": "60s", "Status": "passing"})
    assert (await ask("id/one")).status == 200
    assert (await ask("id/one?format=text")).text == "passing"
    await consul.put("/v1/agent/check/warn/service:one")
    assert (await ask("id/one")).status == 429
    await consul.register(ID="two", Check={"TTL": "60s"})
    told = await ask("name/orders")
    assert told.status == 503
    assert [each["AggregatedStatus"] for each in told.json] == ["warning", "critical"]


async def test_one_service_can_be_waited_for_by_its_hash(consul: Consul) -> None:
    await consul.register(ID="one")
    told = await consul.get("/v1/agent/service/one")
    mark = told.headers["x-consul-contenthash"]
    assert told.json["ContentHash"] == mark
    waiting = await consul.begin(f"/v1/agent/service/one?hash={mark}&wait=60s")
    await consul.register(ID="one", Tags=["new"])
    told = await waiting
    assert told.json["Tags"] == ["new"]
    assert told.json["ContentHash"] != mark
    assert (await consul.get(f"/v1/agent/service/one?hash={mark}")).json["Tags"] == ["new"]


async def test_many_who_register_checks_at_once_lose_none(consul: Consul) -> None:
    await consul.register(ID="one")
    checks = [{"Name": f"c{n}", "ServiceID": "one", "TTL": "60s"} for n in range(10)]
    told = await asyncio.gather(*(consul.put("/v1/agent/check/register", c) for c in checks))
    assert {each.status for each in told} == {200}
    assert len(await statuses(consul)) == 10


async def test_agent_says_what_it_is(consul: Consul) -> None:
    told = (await consul.get("/v1/agent/self")).json
    assert told["Config"]["Datacenter"] == "dc1"
    assert told["Config"]["NodeName"] == told["Member"]["Name"] == "moreton"
    assert (await consul.get("/v1/agent/members")).json == [told["Member"]]
    assert (await consul.get("/v1/status/leader")).json == "127.0.0.1:7400"
    assert (await consul.get("/v1/status/peers")).json == ["127.0.0.1:7400"]

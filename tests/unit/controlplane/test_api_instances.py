from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from moreton.controlplane.api_instances import RENEWALS_MAX, instances_router
from moreton.controlplane.problems import install_problems
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.registry import Registry
from moreton.store import Store, open_store

pytestmark = pytest.mark.slow

PLACE = "/v1/services/catalogue/instances"
HALF = "\ud800"  # of a character of UTF-16: JSON can write it, UTF-8 cannot
BODY = {"id": "a-1", "address": "10.0.0.7", "port": 8001, "ttl": "5s"}


class Tired(MoretonError):
    code = "tired"
    retry = RetryAdvice.AFTER


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("memory:")
    yield opened
    await opened.close()


@pytest.fixture
async def registry(store: Store) -> Registry:
    return Registry(store)


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install_problems(app, statuses={Tired: 429})
    app.include_router(instances_router(registry))

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("secret")

    @app.get("/tired")
    async def tired() -> None:
        raise Tired("too much: come back later")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


def is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:moreton:error:{code}"
    assert document["title"]
    assert document["detail"]
    return document


async def test_instance_is_registered_renewed_listed_and_deregistered(
    client: httpx.AsyncClient,
) -> None:
    registered = await client.post(PLACE, json={**BODY, "zone": "a", "tags": ["x"]})
    assert registered.status_code == 201
    assert registered.json()["id"] == "a-1"
    assert registered.json()["ttl"] == "5s"
    assert int(registered.json()["lease"]) > 0
    renewed = await client.put(f"{PLACE}/a-1/lease")
    assert (renewed.status_code, renewed.json()) == (200, {"ttl": "5s"})
    listed = await client.get(PLACE)
    (found,) = listed.json()
    assert datetime.fromisoformat(found.pop("last_heartbeat")) <= datetime.now(UTC)
    assert [found] == [
        {
            "id": "a-1",
            "service": "catalogue",
            "address": "10.0.0.7",
            "port": 8001,
            "zone": "a",
            "weight": 1,
            "version": "",
            "tags": ["x"],
            "metadata": {},
            "state": "serving",
            "ports": {},
            "kind": "ephemeral",
            "source": "http",
            "reason": "",
            "order": None,
            "health": None,
            "checks": [],
            "kept": False,
            "ejected": False,
        }
    ]
    assert listed.headers["x-moreton-revision"] == "2"
    everything = (await client.get("/v1/instances")).json()
    assert [{**each, "ejected": False} for each in everything] == listed.json()
    assert (await client.get("/v1/instances", params={"prefix": "x"})).json() == []
    assert (await client.delete(f"{PLACE}/a-1")).status_code == 204
    assert (await client.get(PLACE)).json() == []


async def test_persistent_instance_has_neither_lease_nor_ttl(client: httpx.AsyncClient) -> None:
    body = {"id": "a-1", "address": "10.0.0.7", "port": 80, "ports": {"admin": 9000}}
    answer = await client.post(PLACE, json={**body, "kind": "persistent"})
    assert answer.json() == {"id": "a-1", "lease": None, "ttl": None, "revision": "2"}
    (found,) = (await client.get(PLACE)).json()
    assert (found["kind"], found["ports"]) == ("persistent", {"admin": 9000})
    refused = await client.post(PLACE, json={**BODY, "kind": "persistent"})
    document = is_problem(refused, 422, "instance-not-valid")
    assert "leave one of the two out" in document["detail"]


async def test_order_is_obeyed_shown_and_taken_back(client: httpx.AsyncClient) -> None:
    await client.post(PLACE, json=BODY)
    order = {"state": "maintenance", "reason": "a new disk", "by": "anna"}
    given = await client.put(f"{PLACE}/a-1/order", json=order)
    assert given.status_code == 200, given.text
    (found,) = (await client.get(PLACE)).json()
    assert (found["state"], found["order"]) == ("maintenance", given.json())
    assert found["reason"] == "maintenance ordered by anna: a new disk"
    assert (await client.delete(f"{PLACE}/a-1/order")).status_code == 204
    (found,) = (await client.get(PLACE)).json()
    assert (found["state"], found["order"], found["reason"]) == ("serving", None, "")


async def test_order_is_refused_when_it_cannot_be_obeyed(client: httpx.AsyncClient) -> None:
    draining = {"state": "draining"}
    refused = await client.put(f"{PLACE}/nobody/order", json=draining)
    is_problem(refused, 404, "instance-not-registered")
    await client.post(PLACE, json=BODY)
    refused = await client.put(f"{PLACE}/a-1/order", json={"state": "serving"})
    is_problem(refused, 422, "instance-not-valid")


@pytest.mark.parametrize("source", ["yaml", "dns", "file", "consul", "me"])
async def test_source_is_refused_when_it_is_the_control_plane_s_own(
    client: httpx.AsyncClient, source: str
) -> None:
    refused = await client.post(PLACE, json={**BODY, "source": source})
    assert refused.status_code == 422


async def test_checks_are_registered_and_what_has_a_ttl_is_reported(
    client: httpx.AsyncClient,
) -> None:
    checks = [{"http": "/health", "interval": "1s"}, {"id": "beat", "ttl": "5s"}]
    assert (await client.post(PLACE, json={**BODY, "checks": checks})).status_code == 201
    (found,) = (await client.get(PLACE)).json()
    assert [each["id"] for each in found["checks"]] == ["http", "beat"]
    assert (found["state"], found["reason"]) == (
        "critical",
        "check beat: nothing was reported for 5s",
    )
    report = {"status": "passing", "output": "fine"}
    assert (await client.put(f"{PLACE}/a-1/checks/beat", json=report)).status_code == 204
    (found,) = (await client.get(PLACE)).json()
    assert (found["state"], found["reason"]) == ("starting", "its checks have not passed yet")
    refused = await client.put(f"{PLACE}/a-1/checks/http", json=report)
    is_problem(refused, 404, "check-unknown")
    refused = await client.put(f"{PLACE}/a-2/checks/beat", json=report)
    is_problem(refused, 404, "instance-not-registered")


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ({}, "none of http, tcp, grpc, command, ttl"),
        ({"http": "/", "tcp": {}}, "http and tcp"),
        ({"http": "health"}, "path 'health' is not a path"),
        ({"http": "/", "interval": "1ms"}, "interval 1ms is outside"),
        ({"tcp": {"port": 0}}, "port"),
        ({"id": "a/b", "tcp": {}}, "check id 'a/b' is not valid"),
    ],
)
async def test_check_is_refused_when_it_cannot_be_meant(
    client: httpx.AsyncClient, check: dict[str, Any], fault: str
) -> None:
    refused = await client.post(PLACE, json={**BODY, "checks": [check]})
    assert refused.status_code == 422
    assert fault in refused.text


async def test_command_is_refused_as_a_check_unless_it_is_allowed(
    client: httpx.AsyncClient,
) -> None:
    refused = await client.post(PLACE, json={**BODY, "checks": [{"command": ["true"]}]})
    document = is_problem(refused, 403, "commands-not-allowed")
    assert "controlplane.command_checks" in document["detail"]


async def test_instance_gets_an_id_and_the_usual_ttl_when_it_names_none(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(PLACE, json={"address": "10.0.0.7", "port": 8001})
    assert len(answer.json()["id"]) == 26
    assert answer.json()["ttl"] == "10s"


async def test_unknown_lease_is_a_problem_that_says_to_register_again(
    client: httpx.AsyncClient,
) -> None:
    document = is_problem(await client.put(f"{PLACE}/nobody/lease"), 404, "instance-not-registered")
    assert document["retry"] == "now"
    assert "register it again" in document["detail"]
    is_problem(await client.delete(f"{PLACE}/nobody"), 404, "instance-not-registered")


async def test_duplicate_id_is_a_problem_that_names_the_holder(client: httpx.AsyncClient) -> None:
    await client.post(PLACE, json=BODY)
    answer = await client.post(PLACE, json={**BODY, "address": "10.0.0.8"})
    document = is_problem(answer, 409, "instance-id-taken")
    assert document["retry"] == "after"
    assert answer.headers["retry-after"] == "1"
    assert "10.0.0.7:8001" in document["detail"]


async def test_bad_values_are_one_problem_with_every_fault(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/services/Bad_Name/instances", json={**BODY, "port": 0, "weight": -1}
    )
    document = is_problem(answer, 422, "instance-not-valid")
    assert len(document["faults"]) == 3
    assert document["retry"] == "never"


@pytest.mark.parametrize("ttl", ["", "5", "soon", "10ms", "2d", "9" * 30 + "d"])
async def test_bad_ttl_is_a_problem(client: httpx.AsyncClient, ttl: str) -> None:
    document = is_problem(
        await client.post(PLACE, json={**BODY, "ttl": ttl}), 422, "instance-not-valid"
    )
    assert "ttl" in document["detail"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"port": "8001"}, "port"),
        ({"tags": "x"}, "tags"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"colour": "green"}, "colour"),
        ({"state": "asleep"}, "state"),
        ({"address": None}, "address"),
    ],
)
async def test_wrong_type_is_a_problem_that_says_where(
    client: httpx.AsyncClient, change: dict[str, object], place: str
) -> None:
    document = is_problem(
        await client.post(PLACE, json={**BODY, **change}), 422, "request-not-valid"
    )
    assert document["faults"][0].startswith(f"{place}: ")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
async def test_body_that_is_no_document_is_a_problem(
    client: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post(PLACE, content=body, headers=headers)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_address_and_method_are_problems(client: httpx.AsyncClient) -> None:
    is_problem(await client.get("/v1/nothing"), 404, "not-found")
    answer = await client.patch(PLACE)
    is_problem(answer, 405, "method-not-allowed")
    assert "POST" in answer.headers["allow"]


async def test_fault_of_ours_is_a_problem_that_tells_no_secrets(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/fault")
    is_problem(answer, 500, "fault")
    assert "secret" not in answer.text


async def test_error_has_the_status_that_was_said_for_its_class(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/tired")
    is_problem(answer, 429, "tired")
    assert answer.headers["retry-after"] == "1"


async def test_many_are_renewed_by_one_request(client: httpx.AsyncClient) -> None:
    await client.post(PLACE, json=BODY)
    await client.post(PLACE, json={**BODY, "id": "a-2", "port": 8002, "ttl": "90s"})
    names = ["catalogue/a-1", "catalogue/nobody", "catalogue/a-2"]
    answer = await client.post("/v1/leases/renew", json={"instances": names})
    assert answer.status_code == 200
    assert answer.json() == {
        "ttls": {"catalogue/a-1": "5s", "catalogue/nobody": None, "catalogue/a-2": "90s"}
    }


@pytest.mark.parametrize("name", ["", "catalogue", "catalogue/a-1/health", "/"])
async def test_name_that_is_no_instance_renews_nothing(
    client: httpx.AsyncClient, name: str
) -> None:
    answer = await client.post("/v1/leases/renew", json={"instances": [name]})
    if name == "/":
        assert answer.json() == {"ttls": {"/": None}}
    else:
        is_problem(answer, 422, "instance-not-valid")


async def test_more_renewals_than_one_request_may_have_are_refused(
    client: httpx.AsyncClient,
) -> None:
    names = [f"catalogue/{number}" for number in range(RENEWALS_MAX + 1)]
    answer = await client.post("/v1/leases/renew", json={"instances": names})
    is_problem(answer, 422, "request-not-valid")


def as_ascii(body: dict[str, Any]) -> dict[str, Any]:
    """*body* in the form of JSON that can say anything."""
    return {"content": json.dumps(body), "headers": {"content-type": "application/json"}}


@pytest.mark.parametrize(
    "more",
    [{"zone": HALF}, {"tags": [HALF]}, {"metadata": {"k": HALF}}, {"address": HALF}],
    ids=lambda more: next(iter(more)),
)
async def test_half_of_a_character_is_refused_so_that_lists_can_be_answered(
    client: httpx.AsyncClient, more: dict[str, Any]
) -> None:
    answer = await client.post(PLACE, **as_ascii(BODY | more))
    is_problem(answer, 422, "instance-not-valid")
    assert (await client.get("/v1/instances")).json() == []


async def test_half_of_a_character_in_what_a_check_saw_is_not_handed_on(
    client: httpx.AsyncClient,
) -> None:
    await client.post(PLACE, json=BODY | {"checks": [{"id": "own", "ttl": "10s"}]})
    told = await client.put(f"{PLACE}/a-1/checks/own", **as_ascii({"output": f"saw {HALF}"}))
    assert told.status_code == 204, told.text
    assert (await client.get(PLACE)).json()[0]["health"]["checks"][0]["output"] == "saw ?"


async def test_half_of_a_character_names_no_instance_that_could_be_renewed(
    client: httpx.AsyncClient,
) -> None:
    body = as_ascii({"instances": [f"catalogue/{HALF}"]})
    is_problem(await client.post("/v1/leases/renew", **body), 422, "instance-not-valid")

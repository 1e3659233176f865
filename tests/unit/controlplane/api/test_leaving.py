from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from moreton.controlplane.assembly.plane import Plane
from moreton.controlplane.following import in_background, keep_following
from moreton.registry import Instance, InstanceId
from moreton.registry.core.instance import TTL_DEFAULT
from moreton.registry.core.standing import InstanceSource, InstanceState

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("leaving")]

PLACE = "/v1/services/catalogue/instances"
ME = {"by": "me@here", "reason": "new disk"}


@pytest.fixture
async def leaving(plane: Plane) -> AsyncIterator[Plane]:
    """Three instances, and everybody who follows them."""
    for number in range(3):
        one = Instance(InstanceId(f"c{number}"), "catalogue", "10.0.0.1", 8000 + number)
        await plane.registry.register(one, ttl=TTL_DEFAULT)
    follow = keep_following(plane.instructions.follow, what="x", troubles=plane.troubles)
    async with (
        plane.drains.running(),
        in_background(follow, name="instructions"),
        in_background(plane.keep_history(), name="history"),
    ):
        yield plane


async def state(client: httpx.AsyncClient, name: str) -> str:
    there = (await client.get(PLACE)).json()
    return str(next(each["state"] for each in there if each["id"] == name))


async def wait_event(client: httpx.AsyncClient, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            for each in (await client.get("/v1/events?service=catalogue")).json():
                if each["kind"] == kind:
                    return dict(each)
            await asyncio.sleep(0.01)


async def test_drain_is_ordered_waited_for_and_taken_back(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{PLACE}/c0/drain?wait=10", json=ME)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["idle"]) == ("draining", True)
    assert await state(client, "c0") == "draining"
    found = await wait_event(client, "order-set")
    assert (found["by"], found["why"]) == ("me@here", "draining: new disk")
    assert (await client.delete(f"{PLACE}/c0/drain")).status_code == 204
    assert await state(client, "c0") == "serving"


async def test_second_drain_of_an_instance_changes_nothing(client: httpx.AsyncClient) -> None:
    both = await asyncio.gather(
        *(client.post(f"{PLACE}/c0/drain?wait=10", json=ME) for _ in range(2))
    )
    assert [each.status_code for each in both] == [200, 200]
    assert all(each.json()["idle"] for each in both)
    order = (await client.get(PLACE)).json()[0]["order"]
    again = await client.post(f"{PLACE}/c0/drain", json={"by": "another"})
    assert again.status_code == 200
    assert (await client.get(PLACE)).json()[0]["order"] == order


async def test_last_instance_is_drained_by_force_only(client: httpx.AsyncClient) -> None:
    for name in ("c0", "c1"):
        assert (await client.post(f"{PLACE}/{name}/drain", json=ME)).status_code == 200
    refused = await client.post(f"{PLACE}/c2/drain", json=ME)
    assert (refused.status_code, refused.json()["code"]) == (409, "last-instance")
    why = '"c2" is the last of service "catalogue" that serves; 2 draining'
    assert why in refused.json()["detail"]
    assert await state(client, "c2") == "serving"
    forced = await client.post(f"{PLACE}/c2/drain", json={**ME, "force": True})
    assert forced.status_code == 200


async def test_two_last_instances_cannot_be_drained_at_once(client: httpx.AsyncClient) -> None:
    await client.post(f"{PLACE}/c0/drain", json=ME)
    await asyncio.gather(*(client.post(f"{PLACE}/{x}/drain", json=ME) for x in ("c1", "c2")))
    assert "serving" in {await state(client, "c1"), await state(client, "c2")}


async def test_instance_that_leaves_by_itself_cannot_be_called_back(
    client: httpx.AsyncClient, leaving: Plane
) -> None:
    out = Instance(InstanceId("c0"), "catalogue", "10.0.0.1", 8000, state=InstanceState.DRAINING)
    await leaving.registry.register(out, ttl=TTL_DEFAULT)
    answer = await client.get(f"{PLACE}/c0/drain?wait=10")
    assert answer.json()["idle"] is True
    refused = await client.delete(f"{PLACE}/c0/drain")
    assert (refused.status_code, refused.json()["code"]) == (409, "leaves-by-itself")


async def test_maintenance_begins_and_ends(client: httpx.AsyncClient) -> None:
    assert (await client.put(f"{PLACE}/c0/maintenance", json=ME)).status_code == 204
    assert await state(client, "c0") == "maintenance"
    assert (await client.delete(f"{PLACE}/c0/drain")).status_code == 204
    assert await state(client, "c0") == "maintenance", "that was not a drain"
    assert (await client.delete(f"{PLACE}/c0/maintenance")).status_code == 204
    assert await state(client, "c0") == "serving"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "drain", ME),
        ("GET", "drain", None),
        ("DELETE", "drain", None),
        ("PUT", "maintenance", ME),
        ("DELETE", "maintenance", None),
        ("POST", "instruction", {"action": "stop", "token": "t"}),
    ],
)
async def test_instance_that_nobody_registered_is_a_404(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    answer = await client.request(method, f"{PLACE}/nobody/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "instance-not-registered")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{PLACE}/c0/drain?wait=1h", ME),
        ("POST", f"{PLACE}/c0/drain?until=later", ME),
        ("POST", f"{PLACE}/c0/drain", {"force": "yes"}),
        ("POST", f"{PLACE}/c0/instruction", {"action": "dance", "token": "t"}),
        ("POST", f"{PLACE}/c0/instruction", {"action": "stop", "token": "a b"}),
        ("GET", "/v1/events?since=soon", None),
        ("GET", "/v1/events?service=Not_A_Name", None),
        ("GET", "/v1/events?limit=0", None),
        ("POST", "/v1/services/catalogue/rollout", {"batch": 0}),
        ("POST", "/v1/services/catalogue/rollout", {"limit": "soon"}),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 422, answer.text


async def test_instruction_is_given_heard_and_reported_on(client: httpx.AsyncClient) -> None:
    place = f"{PLACE}/c0/instruction"
    assert (await client.get(place)).status_code == 204
    hearing = asyncio.create_task(client.get(f"{place}?wait=10"))
    given = await client.post(place, json={"action": "stop", "token": "t", "by": "me"})
    assert given.json()["phase"] == "asked"
    assert (await hearing).json()["token"] == "t"
    told = await client.put(place, json={"name": "t.1", "phase": "done", "detail": "status 0"})
    assert told.json()["detail"] == "status 0"
    late = await client.put(place, json={"name": "u.1", "phase": "done"})
    assert (late.status_code, late.json()["code"]) == (409, "instruction-superseded")
    there = (await client.get("/v1/services/catalogue/instructions")).json()
    assert there["c0"]["phase"] == "done"


async def test_rollout_of_what_nobody_here_started_is_refused(client: httpx.AsyncClient) -> None:
    place = "/v1/services/catalogue/rollout"
    refused = await client.post(place, json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "rollout-not-restartable")
    assert "c0, c1, c2 registered without `moreton run`" in refused.text
    nobody = await client.post("/v1/services/nobody/rollout", json={})
    assert (nobody.status_code, nobody.json()["code"]) == (404, "rollout-nothing-to-restart")
    none = await client.get(place)
    assert (none.status_code, none.json()["code"]) == (404, "rollout-not-found")


async def test_rollout_asks_one_after_the_other_and_stops_at_a_failure(
    client: httpx.AsyncClient, leaving: Plane
) -> None:
    for number in range(3):
        one = Instance(
            InstanceId(f"c{number}"),
            "catalogue",
            "10.0.0.1",
            8000 + number,
            source=InstanceSource.RUN,
        )
        await leaving.registry.register(one, ttl=TTL_DEFAULT)
    place = "/v1/services/catalogue/rollout"
    assert (await client.post(place, json={"by": "me"})).json()["total"] == 3
    token = (await client.post(f"{place}/advance")).json()["token"]
    told = (await client.get("/v1/services/catalogue/instructions")).json()
    assert {name: each["token"] for name, each in told.items()} == {"c0": token}

    async def report(name: str, phase: str, attempt: int = 1) -> None:
        body = {"name": f"{token}.{attempt}", "phase": phase, "detail": "why"}
        answer = await client.put(f"{PLACE}/{name}/instruction", json=body)
        assert answer.status_code == 200, answer.text

    advancing = asyncio.create_task(client.post(f"{place}/advance?wait=10"))
    await report("c0", "done")
    assert (await advancing).json()["done"] == 1
    await client.post(f"{place}/advance")
    await report("c1", "failed")
    stopped = (await client.post(f"{place}/advance")).json()
    assert (stopped["state"], stopped["done"]) == ("stopped", 1)
    assert 'instance "c1" did not come back: why' in stopped["reason"]
    joined = (await client.post(place, json={})).json()
    assert (joined["token"], joined["state"], joined["done"]) == (token, "running", 1)
    await report("c1", "done", attempt=2)
    await client.post(f"{place}/advance")
    await report("c2", "done")
    assert (await client.post(f"{place}/advance")).json()["state"] == "done"
    ended = await client.delete(place)
    assert ended.status_code == 404, "it is over"
    assert (await client.post(place, json={})).json()["token"] != token, "a new one"
    assert (await client.delete(place)).status_code == 204

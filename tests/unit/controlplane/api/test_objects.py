from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow


def problem(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["code"] == code
    return str(document["detail"])


async def test_route_is_put_shown_replaced_and_deleted(client: httpx.AsyncClient) -> None:
    created = await client.put("/v1/routes/extra", json={"path": "/extra/*", "to": "shop"})
    assert created.status_code == 201
    assert created.json()["takes"] == "/extra/*"
    assert created.json()["source"] == {"origin": "api", "where": "", "shadowed": False}
    replaced = await client.put("/v1/routes/extra", json={"path": "/more/*", "to": "catalogue"})
    assert replaced.status_code == 200
    shown = (await client.get("/v1/routes/extra")).json()
    assert (shown["takes"], shown["weights"]) == ("/more/*", {"catalogue": 1})
    assert (await client.delete("/v1/routes/extra")).status_code == 204
    detail = problem(await client.get("/v1/routes/extra"), 404, "unknown-object")
    assert 'route "extra" is not defined' in detail


async def test_objects_of_the_file_are_listed_with_their_place(client: httpx.AsyncClient) -> None:
    routes = {route["name"]: route for route in (await client.get("/v1/routes")).json()}
    assert routes["products"]["source"]["where"] == "moreton.yaml:7:3"
    assert routes["products"]["takes"] == "GET /catalogue/*"
    services = {one["name"]: one for one in (await client.get("/v1/services")).json()}
    assert services["shop"]["routes"] == ["everything", "products"]
    assert services["shop"]["status"]["text"] == "pending"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/routes/everything", {"path": "/*", "to": "catalogue"}),
        ("DELETE", "/v1/routes/everything", None),
        ("PUT", "/v1/services/shop", {"addresses": ["127.0.0.1:1"]}),
        ("DELETE", "/v1/services/shop", None),
    ],
)
async def test_object_of_the_file_is_not_changed_and_says_where_it_is(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    detail = problem(await client.request(method, path, json=body), 409, "defined-in-file")
    assert "defined in moreton.yaml:" in detail


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"path": "/x", "to": "nobody"}, 'sends to service "nobody", which no one defines'),
        ({"path": "/x", "to": "shop", "gateways": ["inner"]}, 'gateway "inner"'),
        ({"path": "/*", "to": "shop"}, 'matches the same requests as "everything" (moreton.yaml:6'),
    ],
)
async def test_route_that_does_not_fit_the_others_is_refused(
    client: httpx.AsyncClient, spec: Any, what: str
) -> None:
    assert what in problem(await client.put("/v1/routes/r", json=spec), 422, "object-not-valid")
    assert (await client.get("/v1/routes/r")).status_code == 404


async def test_body_that_is_no_route_is_refused_with_every_fault(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.put("/v1/routes/r", json={"path": "x", "too": "shop"})
    problem(answer, 422, "config-refused")
    assert len(answer.json()["faults"]) >= 2


async def test_weights_are_set_shown_and_taken_back(client: httpx.AsyncClient) -> None:
    path = "/v1/routes/products/weights"
    set_ = await client.put(path, json={"shop": 90, "catalogue": 10})
    assert set_.status_code == 200
    assert set_.json()["weights"] == {"shop": 90, "catalogue": 10}
    assert set_.json()["defined"] == {"shop": 100, "catalogue": 0}
    assert (await client.get(path)).json()["set"] is True
    taken_back = await client.delete(path)
    assert taken_back.json()["weights"] == {"shop": 100, "catalogue": 0}
    assert taken_back.json()["set"] is False


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        ({"shop": 1}, "name each destination once"),
        ({"shop": 1, "catalogue": 1, "other": 1}, "name each destination once"),
        ({"shop": 0, "catalogue": 0}, "all weights are 0"),
        ({"shop": -1, "catalogue": 1}, "-1 is not a weight"),
    ],
)
async def test_weights_that_do_not_fit_are_refused(
    client: httpx.AsyncClient, weights: dict[str, int], what: str
) -> None:
    answer = await client.put("/v1/routes/products/weights", json=weights)
    assert what in problem(answer, 422, "weights-not-valid")


@pytest.mark.parametrize("weights", [{"shop": 0.5, "catalogue": 1}, [1], {"shop": "many"}, 7])
async def test_weights_of_the_wrong_shape_are_refused(
    client: httpx.AsyncClient, weights: Any
) -> None:
    answer = await client.put("/v1/routes/products/weights", json=weights)
    problem(answer, 422, "request-not-valid")


async def test_putting_a_route_forgets_the_weights_set_for_it(client: httpx.AsyncClient) -> None:
    spec = {"path": "/x/*", "to": {"shop": 100, "catalogue": 0}}
    await client.put("/v1/routes/x", json=spec)
    await client.put("/v1/routes/x/weights", json={"shop": 0, "catalogue": 1})
    await client.put("/v1/routes/x", json=spec)
    assert (await client.get("/v1/routes/x/weights")).json()["weights"] == spec["to"]


async def test_unknown_name_proposes_one_that_looks_like_it(client: httpx.AsyncClient) -> None:
    detail = problem(await client.get("/v1/routes/product/weights"), 404, "unknown-object")
    assert 'did you mean "products"?' in detail


async def test_wait_for_a_proxy_that_is_not_there_ends_in_time(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.put(
        "/v1/routes/products/weights",
        params={"wait": "applied", "timeout": 0.05},
        json={"shop": 0, "catalogue": 1},
    )
    assert "is stored but not in force after 0.05 s" in problem(answer, 504, "not-applied")
    assert (await client.get("/v1/routes/products/weights")).json()["set"] is True


JSON = {"content-type": "application/json"}
HALF = "\ud800"  # of a character of UTF-16: JSON can write it, UTF-8 cannot


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("routes/r", {"path": f"/{HALF}", "to": "shop"}, "path"),
        ("routes/r", {"path": "/x", "to": {f"a{HALF}": 1}}, "to.a?"),
        ("routes/r", {"path": "/x", "to": "shop", "gateways": ["public", HALF]}, "gateways.1"),
        ("services/s", {"addresses": [f"a{HALF}:1"]}, "addresses.0"),
        ("routes/products/weights", {HALF: 1}, "?"),
    ],
)
@pytest.mark.parametrize("written", ["escaped", "as bytes"])
async def test_half_of_a_character_is_refused_with_its_place(
    client: httpx.AsyncClient, path: str, body: Any, where: str, written: str
) -> None:
    text = json.dumps(body, ensure_ascii=written == "escaped").encode(errors="surrogatepass")
    answer = await client.put(f"/v1/{path}", content=text, headers=JSON)
    assert problem(answer, 422, "request-not-valid").startswith(f"{where}: half of a character")
    assert len((await client.get("/v1/routes")).json()) == 2


async def test_whole_characters_are_taken_however_they_are_written(
    client: httpx.AsyncClient,
) -> None:
    for escaped in (True, False):
        text = json.dumps({"path": "/\U0001f333/*", "to": "shop"}, ensure_ascii=escaped)
        answer = await client.put("/v1/routes/r", content=text.encode(), headers=JSON)
        assert answer.json()["takes"] == "/\U0001f333/*"

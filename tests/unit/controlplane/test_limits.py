"""Bans and resets in the store, over HTTP, and at a service that asks for them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from moreton.controlplane.api.app import STATUSES
from moreton.controlplane.errors import ObjectNotValid
from moreton.controlplane.limits.api import limits_router
from moreton.controlplane.limits.keeping import BanKeeper
from moreton.controlplane.limits.orders import LimitOrders
from moreton.controlplane.problems import install_problems
from moreton.controlplane.settings import load_settings
from moreton.kernel.places import Finder
from moreton.ratelimit.config.words import ban_of
from moreton.ratelimit.core.rules.seen import Caller
from moreton.ratelimit.core.rules.values import Limits
from moreton.ratelimit.rulebook import Rulebook
from moreton.ratelimit.rulebook.asking import RulesAsker
from moreton.ratelimit.servers.guard import Guard
from moreton.store import Store
from moreton.store.memory import open_memory_store

BOTH = ["gateway", "service"]
FILE = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}]}}
services: {shop: {addresses: [127.0.0.1:8000]}}
routes: {all: {path: /*, to: shop}}
clients:
  bans: [198.51.100.0/24]
  api_keys: {keys: {acme: {key: the-secret}}}
limits:
  login: {at: service, match: {paths: /login}, by: address, limit: 2/h}
  each: {by: address, limit: 100/s}
  whole: {at: service, match: {paths: /whole}, limit: 100/s}
  exact: {by: address, limit: 100/s, scope: exact}
"""


class Plane:
    """The part of a control plane that is about limits."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.file = folder / "moreton.yaml"
        self.file.write_text(FILE)
        self.settings = load_settings(self.file)
        self.store = store
        self.orders = LimitOrders(store)
        self.told = 0
        self.orders.on_change(self._note)
        self.app = FastAPI()
        install_problems(self.app, statuses=STATUSES)
        self.app.include_router(
            limits_router(lambda: self.settings, self.settings.routes.values, self.orders)
        )

    def _note(self) -> None:
        self.told += 1

    async def wait_told(self, before: int) -> None:
        async with asyncio.timeout(10):
            while self.told == before:
                await asyncio.sleep(0)

    async def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.request(method, path, json=body)

    async def change(self, method: str, path: str, body: object = None) -> httpx.Response:
        """`ask`, and wait until the store told of it."""
        before = self.told
        answer = await self.ask(method, path, body)
        assert answer.is_success, answer.text
        await self.wait_told(before)
        return answer


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    store = open_memory_store()
    plane = Plane(tmp_path, store)
    ready = asyncio.Event()
    following = asyncio.create_task(plane.orders.follow(ready.set))
    await ready.wait()
    yield plane
    following.cancel()
    await store.close()


async def test_a_ban_may_end_later_than_any_lease(plane: Plane) -> None:
    last = "9999-12-31T23:59:59+00:00"
    made = await plane.change("POST", "/v1/limits/bans", {"who": "192.0.2.7", "until": last})
    assert made.json()["until"] == last
    assert [ban.who for ban in plane.orders.bans] == ["192.0.2.7"]


@pytest.mark.parametrize(
    "end", [{"until": "9999-12-31T23:59:59-08:00"}, {"for": "99999999999999d"}, {"until": "soon"}]
)
async def test_an_end_that_is_none_is_refused_in_words(plane: Plane, end: dict[str, str]) -> None:
    answer = await plane.ask("POST", "/v1/limits/bans", {"who": "192.0.2.7", **end})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith("the end of the ban: '")
    assert "; write " in answer.json()["detail"]


async def test_a_ban_is_kept_listed_and_taken_back(plane: Plane) -> None:
    body = {"who": "192.0.2.7", "for": "1h", "reason": "guessing"}
    made = (await plane.change("POST", "/v1/limits/bans", body)).json()
    assert made["at"] == BOTH
    until = datetime.fromisoformat(made["until"])
    assert timedelta(minutes=59) < until - datetime.now(UTC) <= timedelta(hours=1)
    assert (await plane.ask("GET", "/v1/limits/bans")).json() == [
        {"who": "198.51.100.0/24", "until": None, "reason": "", "source": "file", "at": BOTH},
        {**made, "who": "192.0.2.7", "reason": "guessing", "source": "api"},
    ]
    await plane.change("DELETE", "/v1/limits/bans?who=192.0.2.7")
    assert len((await plane.ask("GET", "/v1/limits/bans")).json()) == 1
    gone = await plane.ask("DELETE", "/v1/limits/bans?who=192.0.2.7")
    assert gone.status_code == 404
    assert "see `moreton limits bans`" in gone.json()["detail"]
    in_file = await plane.ask("DELETE", "/v1/limits/bans?who=198.51.100.0/24")
    assert in_file.status_code == 409
    assert "moreton.yaml:7:10" in in_file.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"who": "nobody"},
        {"who": "192.0.2.1/24"},
        {"who": "path=/a"},
        {"who": "192.0.2.1", "for": "0"},
        {"who": "192.0.2.1", "for": "soon"},
        {"who": "192.0.2.1", "until": "1999-01-01"},
        {"who": "192.0.2.1", "until": "tomorrow"},
        {"who": "192.0.2.1", "for": "1h", "until": "2999-01-01"},
        {"who": "192.0.2.1", "reasons": "x"},
        {"who": 7},
        {},
    ],
)
async def test_a_ban_that_cannot_be_meant_is_refused(plane: Plane, body: object) -> None:
    answer = await plane.ask("POST", "/v1/limits/bans", body)
    assert answer.status_code == 422
    assert (await plane.ask("GET", "/v1/limits/rules")).json()["bans"] == []


async def test_a_ban_that_is_over_holds_no_more(plane: Plane) -> None:
    now = datetime.now(UTC)
    await plane.orders.ban("192.0.2.7", now + timedelta(hours=1), "")
    later = LimitOrders(plane.store, now=lambda: now + timedelta(hours=2))
    ready = asyncio.Event()
    following = asyncio.create_task(later.follow(ready.set))
    await ready.wait()
    assert later.bans == []
    with pytest.raises(ObjectNotValid, match="is over"):
        await later.ban("192.0.2.8", now + timedelta(hours=1), "")
    following.cancel()


async def test_what_cannot_be_read_in_the_store_keeps_nothing_else_back(plane: Plane) -> None:
    before = plane.told
    await plane.store.put(b"/moreton/limits/bans/x", b"{")
    await plane.store.put(b"/moreton/limits/later/x", b"{}")
    await plane.wait_told(before)
    await plane.change("POST", "/v1/limits/bans", {"who": "country=FR"})
    assert [ban.who for ban in plane.orders.bans] == ["country=FR"]


async def test_limits_are_listed_and_explained(plane: Plane) -> None:
    login, *others = (await plane.ask("GET", "/v1/limits")).json()
    assert [one["name"] for one in others] == ["each", "whole", "exact"]
    assert (login["name"], login["limit"], login["match"]) == ("login", "2/h", "/login")
    await plane.change("POST", "/v1/limits/bans", {"who": "192.0.2.0/24"})
    query = "method=POST&url=/login&address=192.0.2.9&header=x-api-key:%20the-secret"
    found = (await plane.ask("GET", f"/v1/limits/explain?{query}")).json()
    assert found["client"]["api_key"] == "acme"
    assert found["banned"]["who"] == "192.0.2.0/24"
    assert found["rules"][0]["key"] == "192.0.2.9"
    for wrong in ("method=GET", "method=GET&url=x", "method=GET&url=/&header=x", "a=1"):
        assert (await plane.ask("GET", f"/v1/limits/explain?{wrong}")).status_code == 422, wrong


async def test_services_are_told_no_secret_and_nothing_twice(plane: Plane) -> None:
    first = await plane.ask("GET", "/v1/limits/rules")
    assert "the-secret" not in first.text
    assert "sha256" in first.text
    transport = httpx.ASGITransport(plane.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        same = {"if-none-match": first.headers["etag"]}
        again = await client.get("/v1/limits/rules", headers=same)
        assert (again.status_code, again.content) == (304, b"")
        await plane.change("POST", "/v1/limits/bans", {"who": "tier=x"})
        assert (await client.get("/v1/limits/rules", headers=same)).status_code == 200


@pytest.mark.parametrize(
    ("rule", "advice"),
    [
        ("each 192.0.2.7", "counts of all its keys anew"),
        ("exact 192.0.2.7", "what was counted stays"),
        ("login ", "counts by address, so nobody has the empty key"),
        ("whole 192.0.2.7", "counts everyone together"),
    ],
)
async def test_a_reset_that_reaches_nobody_is_refused(plane: Plane, rule: str, advice: str) -> None:
    name, key = rule.split(" ")
    answer = await plane.ask("POST", "/v1/limits/resets", {"rule": name, "key": key})
    assert answer.status_code == STATUSES[ObjectNotValid]
    assert "nothing was reset" in answer.json()["detail"]
    assert advice in answer.json()["detail"]
    assert plane.orders.resets == []


@pytest.mark.parametrize(
    ("typed", "key"),
    [("2001:DB8::7", "2001:db8::/64"), ("2001:db8::/64", "2001:db8::/64"), ("::", "::/64")],
)
async def test_a_reset_takes_an_address_for_its_key(plane: Plane, typed: str, key: str) -> None:
    answer = await plane.ask("POST", "/v1/limits/resets", {"rule": "login", "key": typed})
    assert answer.json()["key"] == key


async def test_a_service_follows_rules_bans_and_resets(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "moreton.ratelimit")
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(plane.app, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve([listening]))
    book = Rulebook(Limits(), service="shop")
    guard = Guard([book])
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    asker = RulesAsker(Finder(api=url, token="t"), book, 60)

    def passes() -> bool:
        return guard.enter(Caller("POST", "/login", {}, "192.0.2.7")).refusal is None

    assert await asyncio.to_thread(asker.ask)
    assert [passes() for _ in range(4)] == [True, True, False, False]
    await plane.change("POST", "/v1/limits/resets", {"rule": "login", "key": "192.0.2.7"})
    assert await asyncio.to_thread(asker.ask)
    assert [passes() for _ in range(3)] == [True, True, False]
    assert await asyncio.to_thread(asker.ask)  # a reset is done once
    assert not passes()
    assert (await plane.ask("POST", "/v1/limits/resets", {"rule": "x", "key": ""})).status_code == (
        404
    )
    await plane.change("POST", "/v1/limits/bans", {"who": "192.0.2.7", "for": "1h"})
    await asyncio.to_thread(asker.ask)
    refusal = guard.enter(Caller("GET", "/", {}, "192.0.2.7")).refusal
    assert refusal is not None
    assert refusal.status == 403
    server.should_exit = True
    await serving
    listening.close()
    # Nobody answers any more: what was known last holds, and that is told once.
    assert not await asyncio.to_thread(asker.ask)
    assert not await asyncio.to_thread(asker.ask)
    assert not passes()
    assert caplog.text.count("stay as they were") == 1


async def test_gateways_are_told_when_a_ban_is_made_and_when_it_ends(plane: Plane) -> None:
    published: list[list[str]] = []
    over = datetime(1999, 1, 1, tzinfo=UTC)
    in_file = [ban_of("198.51.100.0/24"), ban_of("10.0.0.0/8", over)]
    keeper = BanKeeper(
        plane.orders, lambda: in_file, lambda bans: published.append([one.who for one in bans])
    )
    running = asyncio.create_task(keeper.run())
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    await plane.orders.ban("192.0.2.7", soon, "")
    async with asyncio.timeout(10):
        while ["198.51.100.0/24", "192.0.2.7"] not in published:
            await asyncio.sleep(0)
        while published[-1] != ["198.51.100.0/24"]:
            await asyncio.sleep(0.005)
    assert datetime.now(UTC) >= soon
    running.cancel()

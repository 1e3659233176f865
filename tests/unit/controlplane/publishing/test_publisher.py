from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.objects import Definition, Kind, ObjectKey, Origin, State
from moreton.controlplane.publishing.compiled import Compiled
from moreton.controlplane.publishing.ports import Tried
from moreton.controlplane.publishing.publisher import GROUP, Publisher
from moreton.envoy.core.resources import TypeUrl
from moreton.envoy.preflight import PreflightFailed
from moreton.envoy.xds import XdsServer
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.limits import route_chain_names
from moreton.gateway.core.model import (
    Address,
    Destination,
    Endpoint,
    Gateway,
    Listener,
    Route,
    RouteMatch,
    Service,
)
from moreton.kernel.patterns import PathKind, PathPattern
from moreton.kernel.time import SystemClock
from support import delta_client
from support.delta_client import DeltaClient, names

WHY = "missing ]: ["
BAD = "bad"  # a route with this in its path is refused by the preflight


def route(name: str, path: str, **to: int) -> Route:
    match = RouteMatch(PathPattern(PathKind.PREFIX, f"/{path}/*", f"/{path}"))
    return Route(name, match, to=tuple(Destination(*each) for each in to.items()))


def key_of(value: Gateway | Service | Route) -> ObjectKey:
    kinds = {Gateway: Kind.GATEWAY, Service: Kind.SERVICE, Route: Kind.ROUTE}
    return ObjectKey(kinds[type(value)], value.name)


class Stage:
    """A publisher on a real xDS server, and a proxy that answers as the test says."""

    def __init__(self, address: str) -> None:
        self.desired = Desired()
        self.may_judge = asyncio.Event()
        self.may_judge.set()
        self.failures: list[Exception] = []  # of the next preflights
        self.odd = ""  # a service whose instances nobody can write down
        self.xds = XdsServer(on_change=self._on_change)
        compiled = Compiled(GatewayCompiler(), self._endpoints)
        self.publisher = Publisher(
            self.desired, compiled, self.xds, preflight=self._preflight, clock=SystemClock()
        )
        self.address = address
        self.file: dict[ObjectKey, Definition] = {}

    def _on_change(self) -> None:
        self.publisher.check_proxies()

    def put(self, *values: Gateway | Service | Route) -> None:
        for value in values:
            self.file[key_of(value)] = Definition(value, Origin.FILE, "moreton.yaml:1:1")
        self.publisher.touch(self.desired.replace_file(self.file))

    async def until(self, name: str, state: State) -> str:
        """The reason, once the route *name* is in *state*."""
        key = ObjectKey(Kind.ROUTE, name)
        async with asyncio.timeout(5):
            while True:
                changed = self.publisher.next_change()
                await self.publisher.wait_published()
                status = self.publisher.status(key)
                if status.state is state:
                    return status.reason
                await changed.wait()

    async def until_refused(self, former: str) -> str:
        """The version of the table that the proxy refused, once it is not *former*."""
        async with asyncio.timeout(5):
            while True:
                changed = self.publisher.next_change()
                refused = self.publisher.proxies()[0].rejected.values()
                for version, _ in refused:
                    if version != former:
                        return str(version)
                await changed.wait()

    async def _preflight(self, tried: Sequence[Tried]) -> str:
        await self.may_judge.wait()
        if self.failures:
            raise self.failures.pop()
        routes = [each for each in tried if isinstance(each, Route)]
        return WHY if any(BAD in each.match.path.text for each in routes) else ""

    def _endpoints(self, service: Service) -> list[Endpoint]:
        if service.name == self.odd:
            raise UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed")
        return [Endpoint(address) for address in service.addresses]


class Proxy:
    """Subscribed to the table of the gateway; takes or refuses what comes."""

    def __init__(self, client: DeltaClient) -> None:
        self.client = client

    async def take_clusters(self, *services: str) -> None:
        await self.client.subscribe(TypeUrl.CLUSTER)
        await self.client.accept()
        await self.client.subscribe(TypeUrl.ENDPOINTS, services)
        await self.client.accept()
        await self.client.subscribe(TypeUrl.ROUTES, ["public"])

    async def take_table(self) -> bytes:
        response = await self.client.accept()
        assert names(response) == {"public"}
        return bytes(response.resources[0].resource.value)

    async def refuse_table(self) -> None:
        await self.client.nack(await self.client.next_response(), WHY)


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(delta_client, "GROUP", GROUP)
    address = f"unix:{tmp_path / 'xds.sock'}"
    stage = Stage(address)
    services = [Service(name, (Address("127.0.0.1", 1),)) for name in "ab"]
    stage.put(Gateway("public", (Listener(Address("127.0.0.1", 8080)),)), *services)
    stage.put(route("all", "all", a=1))
    async with stage.publisher.running():
        await stage.publisher.wait_published()
        await stage.xds.start(address)
        yield stage
        await stage.xds.stop()


@pytest.fixture
async def proxy(stage: Stage) -> AsyncIterator[Proxy]:
    client = DeltaClient(stage.address)
    proxy = Proxy(client)
    await proxy.take_clusters("a", "b")
    await proxy.take_table()
    await stage.until("all", State.APPLIED)
    yield proxy
    await client.close()


async def test_route_is_pending_until_the_proxy_acknowledges_it(stage: Stage, proxy: Proxy) -> None:
    stage.put(route("new", "new", b=1))
    await stage.publisher.wait_published()
    assert stage.publisher.status(ObjectKey(Kind.ROUTE, "new")).state is State.PENDING
    assert stage.publisher.status(ObjectKey(Kind.ROUTE, "all")).state is State.APPLIED
    assert not stage.publisher.settled
    assert b"/new" in await proxy.take_table()
    await stage.until("new", State.APPLIED)


async def test_only_suspect_is_refused_at_once_and_taken_out(stage: Stage, proxy: Proxy) -> None:
    stage.put(route("new", "new", b=1))
    await proxy.refuse_table()
    assert await stage.until("new", State.REJECTED) == WHY
    await stage.until("all", State.APPLIED)
    assert await proxy.client.silent()  # it never let go of the table before


async def test_last_good_version_is_published_again(stage: Stage, proxy: Proxy) -> None:
    stage.put(route("new", "good", b=1))
    await proxy.take_table()
    await stage.until("new", State.APPLIED)
    stage.put(route("new", "worse", b=1))
    await proxy.refuse_table()
    await stage.until("new", State.REJECTED)
    assert await proxy.client.silent()
    stage.put(route("other", "other", b=1))
    table = await proxy.take_table()
    assert b"/good" in table
    assert b"/worse" not in table


async def test_culprit_among_several_is_found_by_preflight(stage: Stage, proxy: Proxy) -> None:
    stage.put(route("x", "x", b=1), route("y", BAD, b=1), route("z", "z", b=1))
    await proxy.refuse_table()
    assert await stage.until("y", State.REJECTED) == WHY
    table = await proxy.take_table()
    assert b"/x" in table
    assert b"/z" in table
    assert f"/{BAD}".encode() not in table
    await stage.until("x", State.APPLIED)


@pytest.mark.parametrize("meanwhile", [["z"], ["z", "w"]])
async def test_what_is_published_during_a_search_is_not_blamed(
    stage: Stage, proxy: Proxy, meanwhile: list[str]
) -> None:
    stage.may_judge.clear()
    stage.put(route("x", BAD, b=1), route("y", "y", b=1))
    await proxy.refuse_table()
    first = await stage.until_refused("")
    stage.put(*[route(name, name, b=1) for name in meanwhile])
    await proxy.refuse_table()
    await stage.until_refused(first)
    stage.may_judge.set()
    assert await stage.until("x", State.REJECTED) == WHY
    assert b"/z" in await proxy.take_table()
    for name in ["y", *meanwhile]:
        await stage.until(name, State.APPLIED)


async def test_route_that_is_corrected_during_a_search_is_not_blamed(
    stage: Stage, proxy: Proxy
) -> None:
    stage.may_judge.clear()
    stage.put(route("x", BAD, b=1), route("y", "y", b=1))
    await proxy.refuse_table()
    await stage.until_refused("")
    stage.put(route("x", "good", b=1))
    assert b"/good" in await proxy.take_table()
    stage.may_judge.set()
    for name in "xy":
        await stage.until(name, State.APPLIED)


async def test_refusal_that_no_route_explains_takes_all_changes_back(
    stage: Stage, proxy: Proxy
) -> None:
    stage.put(route("x", "x", b=1), route("y", "y", b=1))
    await proxy.refuse_table()
    assert await stage.until("x", State.REJECTED) == f"refused together with 1 other changes: {WHY}"
    await stage.until("all", State.APPLIED)
    assert await proxy.client.silent()


async def test_corrected_route_is_tried_again(stage: Stage, proxy: Proxy) -> None:
    stage.put(route("new", "new", b=1))
    await proxy.refuse_table()
    await stage.until("new", State.REJECTED)
    stage.put(route("new", "better", b=1))
    assert b"/better" in await proxy.take_table()
    await stage.until("new", State.APPLIED)


async def test_refusal_that_is_told_again_blames_nobody_else(stage: Stage, proxy: Proxy) -> None:
    stage.put(route("x", BAD, b=1), route("y", "y", b=1))
    await proxy.refuse_table()
    await stage.until("x", State.REJECTED)
    stage.publisher.check_proxies()
    stage.publisher.check_proxies()
    await proxy.take_table()
    await stage.until("y", State.APPLIED)


async def test_change_of_weights_sends_no_route_table(stage: Stage, proxy: Proxy) -> None:
    stage.put(route("split", "split", a=1, b=1))
    await proxy.take_table()
    await proxy.client.subscribe(TypeUrl.RUNTIME, ["weights"])
    await proxy.client.accept()
    stage.put(route("split", "split", a=1, b=9))
    response = await proxy.client.accept()
    assert response.type_url == TypeUrl.RUNTIME
    await stage.until("split", State.APPLIED)
    assert await proxy.client.silent()


async def test_publisher_is_settled_once_everything_was_acknowledged(
    stage: Stage, proxy: Proxy
) -> None:
    wanted = {
        TypeUrl.LISTENER: [],
        TypeUrl.RUNTIME: ["weights"],
        TypeUrl.EXTENSION: [
            *(f"{kind}/public" for kind in ("bans", "limits", "arrivals", "connections")),
            *(f"{kind}/public" for kind in ("charges", "lent-charges")),
            *route_chain_names("public"),
        ],
    }
    for kind, asked in wanted.items():
        assert not stage.publisher.settled
        await proxy.client.subscribe(kind, asked)
        await proxy.client.accept()
    async with asyncio.timeout(5):
        while not stage.publisher.settled:
            await stage.publisher.next_change().wait()


async def test_nothing_is_in_force_without_a_proxy(stage: Stage) -> None:
    assert stage.publisher.status(ObjectKey(Kind.ROUTE, "all")).state is State.PENDING
    assert not stage.publisher.settled


async def test_same_bad_route_is_refused_again_when_it_comes_back(
    stage: Stage, proxy: Proxy
) -> None:
    for _ in range(2):
        stage.put(route("x", BAD, b=1), route("y", "y", b=1))
        await proxy.refuse_table()
        assert await stage.until("x", State.REJECTED) == WHY
        await proxy.take_table()
        del stage.file[ObjectKey(Kind.ROUTE, "x")], stage.file[ObjectKey(Kind.ROUTE, "y")]
        stage.put()
        await proxy.take_table()


@pytest.mark.parametrize(
    "error",
    [PreflightFailed("Envoy did not say within 30 s"), OSError(28, "no space"), KeyError("x")],
    ids=lambda error: type(error).__name__,
)
async def test_search_that_failed_is_made_again(
    stage: Stage, proxy: Proxy, error: Exception
) -> None:
    stage.failures = [error]
    stage.put(route("x", BAD, b=1), route("y", "y", b=1))
    await proxy.refuse_table()
    assert await stage.until("x", State.REJECTED) == WHY
    assert not stage.failures
    await proxy.take_table()
    await stage.until("y", State.APPLIED)


async def test_instances_that_cannot_be_compiled_keep_no_others_from_the_proxies(
    stage: Stage,
) -> None:
    stage.odd = "a"
    before = stage.publisher.compiled.members["a"]
    stage.publisher.compiled.members["b"] = ()
    stage.publisher.touch_endpoints(["a", "b"])
    async with asyncio.timeout(5):
        await stage.publisher.wait_published()
    assert stage.publisher.compiled.members["a"] == before
    assert stage.publisher.compiled.members["b"] == [Endpoint(Address("127.0.0.1", 1))]


async def test_nobody_waits_for_a_pass_that_failed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_group: str, _snapshot: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(stage.xds, "publish", fail)
        stage.put(route("x", "x", b=1))
        async with asyncio.timeout(5):
            await stage.publisher.wait_published()
    stage.put(route("y", "y", b=1))
    async with asyncio.timeout(5):
        await stage.publisher.wait_published()
    assert {"all", "x", "y"} <= {key.name for key in stage.publisher.compiled.values}

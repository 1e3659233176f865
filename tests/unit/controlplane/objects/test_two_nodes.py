"""Two control planes over one store, as on two machines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from moreton.controlplane.assembly.plane import Plane, put_together
from moreton.controlplane.core.objects import Kind, ObjectKey
from moreton.controlplane.errors import (
    ChangesContended,
    ControlPlaneError,
    ObjectInUse,
    ObjectNotValid,
)
from moreton.controlplane.objects.keys import CHANGED
from moreton.controlplane.settings import load_settings
from moreton.envoy.xds import XdsServer
from moreton.store import Compare, Put, Store, TxnResult, open_store
from moreton.store.core.model import Op

CONFIGURATION = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}]}}
services: {shop: {addresses: [127.0.0.1:8000]}, other: {addresses: [127.0.0.1:8001]}}
routes: {everything: {path: /*, to: {shop: 1, other: 0}}}
"""
ROUTE = ObjectKey(Kind.ROUTE, "extra")
SERVICE = ObjectKey(Kind.SERVICE, "c")


async def no_preflight(_: object) -> str:
    return ""


@contextlib.asynccontextmanager
async def node(folder: Path, store: Store) -> AsyncIterator[Plane]:
    path = folder / "moreton.yaml"
    path.write_text(CONFIGURATION)
    settings = load_settings(path)
    plane = put_together(settings, store, XdsServer(), preflight=no_preflight)
    await plane.discovery.load()
    await plane.follower.load()
    plane.apply(settings)
    async with plane.publisher.running(), plane.follower.running():
        yield plane


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Plane, Plane]]:
    store = open_store("memory:")
    async with node(tmp_path, store) as one, node(tmp_path, store) as other:
        yield one, other
    await store.close()


async def test_change_at_one_node_counts_at_once_in_the_checks_of_another(
    nodes: tuple[Plane, Plane],
) -> None:
    one, other = nodes
    await one.control.put(SERVICE, {"addresses": ["127.0.0.1:9"]})
    await other.control.put(ROUTE, {"path": "/extra/*", "to": "c"})
    with pytest.raises(ObjectInUse):
        await one.control.delete(SERVICE)
    await other.control.put_weights("everything", {"shop": 0, "other": 1})
    await one.control.delete(ROUTE)
    assert one.desired.weights_set("everything") == {"shop": 0, "other": 1}


@pytest.mark.parametrize("first", [0, 1])
async def test_changes_at_two_nodes_that_exclude_each_other_are_never_both_made(
    nodes: tuple[Plane, Plane], first: int
) -> None:
    one, other = nodes
    await one.control.put(SERVICE, {"addresses": ["127.0.0.1:9"]})
    changes = [
        one.control.put(ROUTE, {"path": "/extra/*", "to": "c"}),
        other.control.delete(SERVICE),
    ]
    if first:
        changes.reverse()
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, ControlPlaneError)]
    assert len(refused) == 1, outcomes
    assert isinstance(refused[0], ObjectInUse | ObjectNotValid)
    assert not one.desired.problem(ROUTE)
    await other.control.put_weights("everything", {"shop": 1, "other": 1})  # both have seen all
    assert one.desired.keys(Kind.ROUTE) == other.desired.keys(Kind.ROUTE)
    assert one.desired.keys(Kind.SERVICE) == other.desired.keys(Kind.SERVICE)


async def test_many_changes_at_two_nodes_at_once_are_all_made(nodes: tuple[Plane, Plane]) -> None:
    one, other = nodes
    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            for plane, side in ((one, "l"), (other, "r")):
                key = ObjectKey(Kind.ROUTE, f"{side}{number}")
                document = {"path": f"/{side}{number}/*", "to": "shop"}
                tasks.create_task(plane.control.put(key, document))
    assert len(one.desired.keys(Kind.ROUTE)) == 9


class Busy:
    """A store in which someone else changes an object before each transaction of ours."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.transactions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def txn(
        self,
        compare: Sequence[Compare] = (),
        then: Sequence[Op] = (),
        otherwise: Sequence[Op] = (),
    ) -> TxnResult:
        self.transactions += 1
        await self.store.txn(then=[Put(CHANGED, b"")])
        return await self.store.txn(compare, then, otherwise)


async def test_change_that_others_always_overtake_is_given_up(tmp_path: Path) -> None:
    busy = Busy(open_store("memory:"))
    async with node(tmp_path, busy) as plane:
        with pytest.raises(ChangesContended):
            await plane.control.put(ROUTE, {"path": "/extra/*", "to": "shop"})
        assert busy.transactions > 1
        assert plane.desired.definition(ROUTE) is None
    await busy.store.close()

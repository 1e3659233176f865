"""A node whose store, a real etcd, goes away and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from moreton.cli.main import application as command
from moreton.controlplane.assembly.looks import application
from moreton.controlplane.assembly.plane import Plane, put_together
from moreton.controlplane.settings import load_settings
from moreton.envoy.binary import find_envoy
from moreton.envoy.supervisor import EnvoySupervisor
from moreton.envoy.xds import XdsServer
from moreton.store import open_store
from moreton.store.raft.operating.making import make_first
from support.etcd_server import EtcdServer
from support.ports import free_port

pytestmark = pytest.mark.e2e

DEADLINE_SECONDS = 30.0
TOKEN = "a-token"
CONFIGURATION = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}]}}
services: {shop: {addresses: [127.0.0.1:8000]}, other: {addresses: [127.0.0.1:8001]}}
routes: {everything: {path: /*, to: {shop: 1, other: 0}}}
"""
WEIGHTS = "/v1/routes/everything/weights"
INSTANCE = {"id": "a-1", "address": "10.0.0.7", "port": 8001, "ttl": "60s"}


async def no_preflight(_: object) -> str:
    return ""


@contextlib.asynccontextmanager
async def node(folder: Path, url: str) -> AsyncIterator[tuple[Plane, httpx.AsyncClient]]:
    """A control plane without a proxy, and a client of its API."""
    path = folder / "moreton.yaml"
    path.write_text(CONFIGURATION)
    settings = load_settings(path)
    store = open_store(url)
    plane = put_together(settings, store, XdsServer(), preflight=no_preflight)
    await plane.discovery.load()
    await plane.follower.load()
    plane.apply(settings)
    envoy = EnvoySupervisor(folder / "envoy", binary=find_envoy(None), group="moreton")
    app = application(plane, envoy, TOKEN)
    headers = {"authorization": f"Bearer {TOKEN}"}
    transport = httpx.ASGITransport(app=app)
    async with (
        plane.publisher.running(),
        plane.follower.running(),
        plane.discovery.running(plane.publisher),
        httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client,
    ):
        yield plane, client
    await store.close()


async def until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_SECONDS} s: {what}") from None


async def test_node_answers_what_it_knows_and_refuses_changes_while_its_store_is_away(
    etcd: EtcdServer, tmp_path: Path
) -> None:
    async with node(tmp_path, etcd.url(timeout="1s")) as (plane, client):
        assert (await client.post("/v1/services/shop/instances", json=INSTANCE)).status_code == 201
        await until(lambda: plane.discovery.view.of("shop"), "the instance is known")
        etcd.kill()
        refused = await client.put(WEIGHTS, json={"shop": 0, "other": 1})
        assert refused.status_code == 503
        assert refused.json()["code"] in {"store-etcd-unreachable", "store-etcd-answer-lost"}
        assert refused.headers["retry-after"] == "1"
        assert (await client.get(WEIGHTS)).json()["weights"] == {"shop": 1, "other": 0}
        listed = await client.get("/v1/services/shop/instances")
        assert [each["id"] for each in listed.json()] == ["a-1"]
        assert listed.headers["x-moreton-stale"] == "true"
        assert "store" in (await client.get("/v1/status")).json()["troubles"]
        etcd.start()
        assert (await client.put(WEIGHTS, json={"shop": 0, "other": 1})).status_code == 200
        assert (await client.get(WEIGHTS)).json()["weights"] == {"shop": 0, "other": 1}
        assert "store" not in (await client.get("/v1/status")).json()["troubles"]
        listed = await client.get("/v1/services/shop/instances")
        assert "x-moreton-stale" not in listed.headers


async def test_node_takes_what_others_changed_while_it_had_no_store(
    etcd: EtcdServer, tmp_path: Path
) -> None:
    async with node(tmp_path, etcd.url(timeout="1s")) as (plane, _):
        etcd.kill()
        other = EtcdServer(etcd.folder)  # the same data at another place: this node is cut off
        other.start()
        try:
            async with node(tmp_path, other.url()) as (_, client):
                assert (await client.put(WEIGHTS, json={"shop": 0, "other": 1})).status_code == 200
                assert plane.desired.weights_set("everything") is None
        finally:
            other.kill()
        etcd.start()
        await until(lambda: plane.desired.weights_set("everything"), "the change is known")


async def test_node_whose_history_was_compacted_away_reads_everything_anew(
    etcd: EtcdServer, tmp_path: Path
) -> None:
    async with node(tmp_path, etcd.url(timeout="1s")) as (plane, client):
        await client.put("/v1/routes/old", json={"path": "/old/*", "to": "shop"})
        etcd.kill()
        other = EtcdServer(etcd.folder)
        other.start()
        try:
            async with node(tmp_path, other.url()) as (second, elsewhere):
                assert (await elsewhere.delete("/v1/routes/old")).status_code == 204
                await elsewhere.put("/v1/routes/new", json={"path": "/new/*", "to": "shop"})
                await second.store.compact(second.store.statistics().revision)
        finally:
            other.kill()
        etcd.start()
        await until(lambda: {"new"} == _of_api(plane), "the node is up to date")


def _of_api(plane: Plane) -> set[str]:
    return {key.name for key in plane.follower.documents}


def test_doctor_says_whether_the_store_of_the_nodes_answers(
    etcd: EtcdServer, tmp_path: Path
) -> None:
    config = tmp_path / "moreton.yaml"
    store = f"controlplane: {{store: 'etcd://{etcd.address}?timeout=1s'}}"
    config.write_text(f"{CONFIGURATION}\n{store}\n")

    def found() -> tuple[str, str]:
        result = CliRunner().invoke(command(["doctor"]), ["doctor", "-c", str(config), "--json"])
        (told,) = [each for each in json.loads(result.stdout) if each["check"] == "store"]
        return told["level"], told["found"]

    assert found() == ("ok", f"etcd://{etcd.address} answers, revision 1")
    etcd.kill()
    level, what = found()
    assert level == "fault"
    assert f"no etcd answers at http://{etcd.address}" in what


def test_doctor_reads_the_folder_of_a_node_without_starting_it(tmp_path: Path) -> None:
    config = tmp_path / "moreton.yaml"
    config.write_text(f"{CONFIGURATION}\ncontrolplane: {{store: 'raft:///node'}}\n")

    def found() -> dict[str, str]:
        result = CliRunner().invoke(command(["doctor"]), ["doctor", "-c", str(config), "--json"])
        (told,) = [each for each in json.loads(result.stdout) if each["check"] == "store"]
        assert isinstance(told, dict)
        return told

    assert found()["level"] == "fault"
    assert "is not the folder of a node" in found()["found"]
    make_first(tmp_path / "node", f"127.0.0.1:{free_port()}")
    assert found()["level"] == "ok"
    assert "node is node 1 of the cluster" in found()["found"]

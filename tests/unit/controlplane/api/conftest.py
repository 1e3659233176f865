from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from moreton.controlplane.assembly.looks import application
from moreton.controlplane.assembly.plane import Plane, put_together
from moreton.controlplane.settings import load_settings
from moreton.envoy.binary import find_envoy
from moreton.envoy.supervisor import EnvoySupervisor
from moreton.envoy.xds import XdsServer
from moreton.store import open_store

TOKEN = "a-token"
CONFIGURATION = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}]}}
services: {shop: {addresses: [127.0.0.1:8000]}, catalogue: {discover: true}}
routes:
  everything: {path: /*, to: shop}
  products: {path: /catalogue/*, methods: [GET], to: {shop: 100, catalogue: 0}}
"""


async def no_preflight(_: object) -> str:
    return ""


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    """All parts but a proxy: everything is stored and published, nothing acknowledged."""
    path = tmp_path / "moreton.yaml"
    path.write_text(CONFIGURATION)
    settings = load_settings(path)
    store = open_store("memory:")
    plane = put_together(settings, store, XdsServer(), preflight=no_preflight)
    await plane.discovery.load()
    await plane.follower.load()
    plane.apply(settings)
    async with (
        plane.publisher.running(),
        plane.follower.running(),
        plane.discovery.running(plane.publisher),
    ):
        yield plane
    await store.close()


@pytest.fixture
async def client(plane: Plane, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    envoy = EnvoySupervisor(tmp_path / "envoy", binary=find_envoy(None), group="moreton")
    app = application(plane, envoy, TOKEN)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://api",
        headers={"authorization": f"Bearer {TOKEN}"},
    ) as client:
        yield client

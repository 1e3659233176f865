"""Asks an Envoy that is started for it alone whether it would take some routes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from moreton.controlplane.core.desired import services_of
from moreton.controlplane.publishing.ports import Preflight
from moreton.envoy.core.resources import Snapshot
from moreton.envoy.preflight import Preflight as EnvoyPreflight
from moreton.envoy.static import static_bootstrap
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.model import Address, Gateway, Listener, Route, Service

_GATEWAY = "preflight"
_ADDRESS = Address("127.0.0.1", 1)  # never bound: Envoy only reads the configuration


def preflight_with(binary: Path) -> Preflight:
    """A preflight by `envoy --mode validate` of *binary*."""
    ask = EnvoyPreflight(binary)

    async def preflight(routes: Sequence[Route]) -> str:
        return await ask(await asyncio.to_thread(_bootstrap, routes))

    return preflight


def _bootstrap(routes: Sequence[Route]) -> bytes:
    """A gateway with *routes* alone, and empty services for them."""
    compiler = GatewayCompiler()
    compiler.put_gateway(Gateway(_GATEWAY, (Listener(_ADDRESS),)))
    for service in {name for route in routes for name in services_of(route)}:
        compiler.put_service(Service(service))
    for route in routes:
        compiler.put_route(replace(route, gateways=frozenset()))
    changed, _ = compiler.take()
    return static_bootstrap(
        Snapshot().changed(changed),
        node=_GATEWAY,
        group=_GATEWAY,
        admin_socket=Path("preflight.sock"),
    )

"""Asks an Envoy that is started for it alone whether it would take some routes or limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from moreton.controlplane.core.desired import services_of
from moreton.controlplane.publishing.ports import Preflight, Tried
from moreton.envoy.core.resources import Snapshot
from moreton.envoy.preflight import Preflight as EnvoyPreflight
from moreton.envoy.static import static_bootstrap
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.model import Address, Gateway, Listener, Route, Service
from moreton.ratelimit.core.rules.values import LimitRule

_GATEWAY = "preflight"
_ADDRESS = Address("127.0.0.1", 1)  # never bound: Envoy only reads the configuration


def preflight_with(binary: Path) -> Preflight:
    """A preflight by `envoy --mode validate` of *binary*."""
    ask = EnvoyPreflight(binary)

    async def preflight(tried: Sequence[Tried]) -> str:
        return await ask(await asyncio.to_thread(_bootstrap, tried))

    return preflight


def _bootstrap(tried: Sequence[Tried]) -> bytes:
    """A gateway with what is *tried* alone, and empty services for the routes."""
    routes = [one for one in tried if isinstance(one, Route)]
    compiler = GatewayCompiler()
    compiler.put_gateway(Gateway(_GATEWAY, (Listener(_ADDRESS),)))
    for service in {name for route in routes for name in services_of(route)}:
        compiler.put_service(Service(service))
    for route in routes:
        compiler.put_route(replace(route, gateways=frozenset()))
    for rule in (one for one in tried if isinstance(one, LimitRule)):
        compiler.put_limit(_anywhere(rule))
    changed, _ = compiler.take()
    return static_bootstrap(
        Snapshot().changed(changed),
        node=_GATEWAY,
        group=_GATEWAY,
        admin_socket=Path("preflight.sock"),
    )


def _anywhere(rule: LimitRule) -> LimitRule:
    """*rule* at the one gateway that there is."""
    unless = rule.unless
    return replace(
        rule,
        match=replace(rule.match, gateways=frozenset()),
        unless=None if unless is None else replace(unless, gateways=frozenset()),
    )

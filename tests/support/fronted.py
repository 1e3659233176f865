"""A gateway before one service of this machine, compiled and not started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from moreton.config.words import read_path
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.model import (
    Address,
    Copies,
    Destination,
    Gateway,
    Listener,
    Route,
    RouteMatch,
    Service,
)

ALL = MappingProxyType({"all": "/*"})


def put_before(
    compiler: GatewayCompiler,
    port: int,
    *,
    routes: Mapping[str, str] = ALL,
    gateways: Iterable[Gateway] = (),
    service: str = "app",
    copies: Copies | None = None,
) -> GatewayCompiler:
    """*compiler*, told to send *routes*, by name their paths, to the *service* at *port*.

    The gateway `public`, and the others of *gateways*, listen on ports that the system chooses.
    """
    for each in (at_any_port("public"), *gateways):
        compiler.put_gateway(each)
    compiler.put_service(Service(service, (Address("127.0.0.1", port),)))
    for name, path in routes.items():
        match = RouteMatch(read_path(path))
        compiler.put_route(Route(name, match, to=(Destination(service),), copies=copies))
    return compiler


def at_any_port(name: str, *, trusted_proxies: int = 0) -> Gateway:
    """A gateway whose port the system chooses."""
    return Gateway(name, (Listener(Address("127.0.0.1", 0)),), trusted_proxies=trusted_proxies)


def showing(socket: Path, port: int, copies: Copies) -> GatewayCompiler:
    """One before the service `shop` at *port*; it shows at *socket* what may have *copies*."""
    compiler = GatewayCompiler(copied_to=str(socket))
    put_before(compiler, port, service="shop", copies=copies).put_copied("all", 1.0)
    return compiler

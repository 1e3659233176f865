"""Consul's HTTP API as a part of the control plane: the section `consul` of moreton.yaml."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from moreton import __version__
from moreton.config import Section
from moreton.controlplane.errors import ConsulNotLoopback
from moreton.controlplane.following import CUT_OFF, in_background, keep_following
from moreton.controlplane.ports import bind, is_loopback
from moreton.gateway.config.gateways import TlsModel
from moreton.gateway.config.words import AddressText
from moreton.gateway.core.model import Address
from moreton.kernel.rng import system_rng
from moreton.kernel.time import SystemClock

if TYPE_CHECKING:
    from moreton.controlplane.assembly.plane import Plane
    from moreton.registry.consul import ConsulApi

_LISTEN = Address("127.0.0.1", 8500)  # Consul's port
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# The Consul whose API this follows: clients that look at versions are to find what they know.
CONSUL_VERSION = f"1.20.0+moreton{__version__}"
# Whatever it runs on, all of a cluster's control planes are one node to Consul's clients.
_NODE_IDS = uuid.UUID("4ad8ce4f-6f0e-4d5c-9d3d-1f8f3ce0a8a1")
_READY_SECONDS = 10.0


def _ip(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address; write one like 10.0.0.7") from None


class ConsulModel(Section):
    """Consul's HTTP API; it is served if the section is there."""

    listen: AddressText = _LISTEN
    tls: TlsModel | None = None  # without it the API listens on loopback only
    anonymous: Literal["nothing", "read", "write"] = "nothing"  # what needs no token
    datacenter: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] = "dc1"
    node: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")] = "moreton"
    # Of a service that is registered without one; default: as `listen`.
    address: Annotated[str, AfterValidator(_ip)] | None = None
    script_checks: bool = False


@dataclass(slots=True)
class BoundConsul:
    """An API whose socket is bound, and which does not answer yet."""

    model: ConsulModel
    listening: socket
    certificate: tuple[Path, Path] | None

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self.listening.getsockname()[:2]
        scheme = "http" if self.certificate is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def close(self) -> None:
        """Let go of the socket."""
        self.listening.close()

    @asynccontextmanager
    async def serving(
        self, plane: Plane, *, token: str, nodes: Callable[[], tuple[str, list[str]]]
    ) -> AsyncIterator[ConsulApi]:
        """Answer within the block; *nodes* tells who leads, and all of them, as `host:port`."""
        # Who does not use it should not wait for it to load.
        consul = importlib.import_module("moreton.registry.consul")
        model = self.model
        host = str(self.listening.getsockname()[0])
        names = consul.NodeNames(
            model.node,
            str(uuid.uuid5(_NODE_IDS, model.node)),
            model.address or _WILDCARDS.get(host, host),
            model.datacenter,
            {"consul-network-segment": ""},
        )
        api: ConsulApi = consul.ConsulApi(
            plane.store,
            plane.registry,
            consul.ConsulSettings(
                names,
                token,
                CONSUL_VERSION,
                anonymous=consul.Anonymous(model.anonymous),
                script_checks=model.script_checks,
            ),
            cluster=consul.Cluster(lambda: nodes()[0], lambda: nodes()[1]),
            clock=SystemClock(),
            rng=system_rng(),
            is_cut_off=lambda: CUT_OFF in plane.troubles.now(),
        )
        async with AsyncExitStack() as stack:
            for what, work in api.works().items():
                following = keep_following(work, what=what, troubles=plane.troubles)
                await stack.enter_async_context(in_background(following, name=what))
            # A store that does not answer must not keep the rest from starting.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_READY_SECONDS):
                    await api.wait_ready()
            server = importlib.import_module("moreton.controlplane.api.serving.server")
            certificate, key = self.certificate or (None, None)
            await stack.enter_async_context(
                server.serving(
                    api.app, self.listening, certificate=certificate, key=key, desk=api.quick
                )
            )
            stack.callback(api.close)
            yield api


def bind_consul(model: ConsulModel | None, folder: Path) -> BoundConsul | None:
    """The socket of *model*; `None` without one. Files are relative to *folder*.

    Raises `ConsulNotLoopback`, `PortInUse`, `AddressUnusable`.
    """
    if model is None:
        return None
    host, port = model.listen.host, model.listen.port
    if not is_loopback(host) and model.tls is None:
        raise ConsulNotLoopback(address=f"{host}:{port}")
    home = folder.absolute()
    files = None if model.tls is None else (home / model.tls.certificate, home / model.tls.key)
    return BoundConsul(model, bind(host, port, what="the Consul API"), files)


def consul_metrics(api: ConsulApi | None) -> Iterator[tuple[str, str, Mapping[str, str], float]]:
    """Name, help, labels and value of each metric."""
    if api is None:
        return
    found = api.statistics()
    yield "moreton_consul_waiting", "Blocking queries that wait", {}, found.waiting
    yield "moreton_consul_woken", "Blocking queries that a change woke", {}, found.woken

"""The registry's DNS server as a part of the control plane: the section `dns` of moreton.yaml."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from socket import socket
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from moreton.config import Duration, Section
from moreton.controlplane.errors import DnsNotInstalled
from moreton.controlplane.ports import translated
from moreton.gateway.config.words import AddressText
from moreton.gateway.core.model import Address
from moreton.kernel.quantities import format_duration
from moreton.kernel.rng import system_rng
from moreton.registry import InstanceView

if TYPE_CHECKING:
    from moreton.registry.dns import DnsServer

_LISTEN = Address("127.0.0.1", 8600)  # Consul's port
_LABEL_CHARS_MAX = 63
_TTL_MAX = timedelta(days=1)
_WILDCARDS = {"0.0.0.0", "::"}


def _domain(text: str) -> str:
    name = text.strip(".").lower()
    if not name or not all(1 <= len(label) <= _LABEL_CHARS_MAX for label in name.split(".")):
        raise ValueError(f"{text!r} is not a domain; write one like moreton or dc1.consul")
    return name


class DnsModel(Section):
    """The DNS server; it runs if the section is there."""

    listen: AddressText = _LISTEN
    domains: Annotated[list[Annotated[str, AfterValidator(_domain)]], Field(min_length=1)] = [
        "moreton"
    ]
    ttl: Duration = timedelta(0)
    negative_ttl: Duration = timedelta(0)
    recursors: list[AddressText] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        for ttl in (self.ttl, self.negative_ttl):
            if ttl > _TTL_MAX:
                raise ValueError(
                    f"a ttl of {format_duration(ttl)} is longer than a day; write at most 1d"
                )
        if self.listen in self.recursors:
            raise ValueError("the server is its own recursor; leave it out")
        return self


@dataclass(slots=True)
class BoundDns:
    """A server whose sockets are bound, and which does not answer yet."""

    model: DnsModel
    sockets: tuple[socket, socket]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it has."""
        host, port = self.sockets[0].getsockname()[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Let go of the sockets."""
        for one in self.sockets:
            one.close()

    @asynccontextmanager
    async def serving(self, view: InstanceView) -> AsyncIterator[DnsServer]:
        """Answer from *view* within the block."""
        dns = _library()
        host, _ = self.address
        settings = dns.DnsSettings(
            domains=tuple(self.model.domains),
            ttl=self.model.ttl,
            negative_ttl=self.model.negative_ttl,
            address=None if host in _WILDCARDS else host,
        )
        responder = dns.Responder(view, settings, rng=system_rng())
        recursors = [(one.host, one.port) for one in self.model.recursors]
        server: DnsServer = dns.DnsServer(responder, recursors=recursors)
        await server.start(*self.sockets)
        try:
            yield server
        finally:
            await server.stop()


def bind_dns(model: DnsModel | None) -> BoundDns | None:
    """The sockets of *model*; `None` without one.

    Raises `DnsNotInstalled`, `PortInUse`, `AddressUnusable`.
    """
    if model is None:
        return None
    bind: Callable[[str, int], tuple[socket, socket]] = _library().dns_sockets
    host, port = model.listen.host, model.listen.port
    with translated(host, port, what="DNS"):
        return BoundDns(model, bind(host, port))


def dns_metrics(
    server: DnsServer | None,
) -> Iterator[tuple[str, str, Mapping[str, str], float]]:
    """Name, help, labels and value of each metric."""
    if server is None:
        return
    found = server.responder.statistics()
    for rcode, count in sorted(found.rcodes.items()):
        yield "moreton_dns_responses", "DNS responses by code", {"rcode": rcode}, count
    yield "moreton_dns_truncated", "DNS responses that did not fit", {}, found.truncated
    yield "moreton_dns_dropped", "Datagrams that were no query", {}, found.dropped


def _library() -> Any:
    try:
        return importlib.import_module("moreton.registry.dns")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "dns":
            raise
        raise DnsNotInstalled from error

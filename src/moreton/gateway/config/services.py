"""The section `services`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from moreton.config import Duration, Name, Percentage, Section
from moreton.gateway.config.words import AddressText
from moreton.gateway.core.model import Protocol, Service
from moreton.registry.config import CheckModel
from moreton.registry.core.checks import Care

_SOURCES = ("addresses", "discover", "run", "file", "dns")


class RunModel(Section):
    """A command that `moreton up` starts and watches, for development."""

    command: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)] | Literal["auto"] = "auto"
    cwd: str = "."
    env: dict[str, str] = {}
    ready: str | None = None  # a path that answers 2xx or 3xx; without it, the port accepts


class NamesModel(Section):
    """A DNS name whose addresses are the instances, asked for again and again."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    type: Literal["A", "SRV"] = "A"  # A: AAAA as well; SRV has the ports
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    interval: Duration = timedelta(seconds=30)  # or the answer's ttl, if that is less
    server: AddressText | None = None  # default: those of /etc/resolv.conf

    @model_validator(mode="after")
    def _has_a_port(self) -> Self:
        if self.type == "A" and self.port is None:
            raise ValueError("port is missing; an address says none, so write it here")
        if self.type == "SRV" and self.port is not None:
            raise ValueError("port is in the answer to SRV; leave it out")
        if self.interval < timedelta(seconds=1):
            raise ValueError("interval is below 1s; do not ask a name server more often")
        return self


class ServiceModel(Section):
    """A named destination: fixed addresses, the registry's instances, or a command."""

    addresses: Annotated[list[AddressText], Field(min_length=1)] | None = None
    discover: bool | Name | None = None
    run: RunModel | None = None
    file: Annotated[str | None, Field(min_length=1)] = None  # targets in Prometheus' file_sd form
    dns: NamesModel | None = None
    protocol: Literal["http1", "http2", "grpc"] = "http1"
    connect_timeout: Duration = timedelta(seconds=2)
    max_connections: Annotated[int, Field(ge=1)] = 10_000
    max_requests: Annotated[int, Field(ge=1)] = 10_000
    policy: Name | None = None  # one of the section `policies`
    checks: Annotated[list[CheckModel], Field(min_length=1)] | None = None  # of each instance
    protect: Percentage | None = None  # more that fall at once are kept in use; default: 50%

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if self.discover is False:
            given.remove("discover")
        if len(given) != 1:
            one = f"{', '.join(_SOURCES[:-1])} and {_SOURCES[-1]}"
            had = " and ".join(given) or f"none of {one}"
            raise ValueError(f"it has {had}; give it exactly one of {one}")
        return self

    @model_validator(mode="after")
    def _checks_hold(self) -> Self:
        Care(tuple(each.as_value() for each in self.checks or ()))
        return self

    def registered_as(self, name: str) -> str:
        """The name under which the registry has the instances of the service *name*."""
        return self.discover if isinstance(self.discover, str) else name

    def as_value(self, name: str) -> Service:
        """The core's value; a command's instance is found as if it had registered."""
        return Service(
            name,
            addresses=tuple(self.addresses or ()),
            discover=None if self.addresses else self.registered_as(name),
            protocol=Protocol(self.protocol),
            max_connections=self.max_connections,
            max_requests=self.max_requests,
            connect_timeout=self.connect_timeout,
        )

"""The section `gateways`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from moreton.config import Section
from moreton.gateway.config.words import AddressText
from moreton.gateway.core.model import Gateway, Listener, TlsFiles


class TlsModel(Section):
    """PEM files, relative to the file that names them."""

    certificate: str
    key: str


class ListenerModel(Section):
    """One address to accept on."""

    address: AddressText
    tls: TlsModel | None = None


class GatewayModel(Section):
    """A front door."""

    listeners: Annotated[list[ListenerModel], Field(min_length=1)]
    access_log: str | None = None
    trusted_proxies: Annotated[int, Field(ge=0, le=16)] = 0
    max_connections: Annotated[int, Field(ge=1)] = 50_000

    def as_value(self, name: str) -> Gateway:
        """The core's value."""
        return Gateway(
            name,
            tuple(
                Listener(
                    one.address,
                    TlsFiles(one.tls.certificate, one.tls.key) if one.tls is not None else None,
                )
                for one in self.listeners
            ),
            access_log=self.access_log,
            trusted_proxies=self.trusted_proxies,
            max_connections=self.max_connections,
        )

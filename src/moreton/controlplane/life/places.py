"""Where things are: the state folder, the store, the API, Envoy."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from moreton.controlplane.errors import ApiNotLoopback
from moreton.controlplane.ports import bind, check_free, is_loopback
from moreton.controlplane.settings import Settings
from moreton.envoy.binary import find_envoy
from moreton.gateway.core.model import Address

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def envoy_binary(settings: Settings) -> Path:
    """The Envoy of *settings*. Raises `EnvoyNotFound`."""
    configured = settings.envoy.binary
    return find_envoy(None if configured is None else settings.folder / configured)


def state_of(settings: Settings) -> Path:
    """The state folder."""
    return (settings.folder / settings.controlplane.state).absolute()


def store_url(settings: Settings, state: Path, given: str | None = None) -> str:
    """The store's URL: as *given*, else of the settings, else a file in the folder *state*.

    A relative file counts from the folder of `moreton.yaml`, one that was given from where we are.
    """
    configured = given or settings.controlplane.store
    if configured is None:
        return f"sqlite:///{state / 'store.sqlite'}"
    base = settings.folder if given is None else Path()
    for prefix in ("sqlite:///", "raft:///"):
        file = configured.removeprefix(prefix)
        if configured.startswith(prefix) and file and not Path(file).is_absolute():
            return f"{prefix}{base.absolute() / file}"
    return configured


def bind_api(settings: Settings) -> socket.socket:
    """The API's socket. Raises `ApiNotLoopback`, `PortInUse`, `AddressUnusable`."""
    address = settings.controlplane.api
    if not is_loopback(address.host) and settings.api_tls is None:
        raise ApiNotLoopback(address=f"{address.host}:{address.port}")
    return bind(address.host, address.port, what="the API")


def check_ports(settings: Settings) -> None:
    """Raises `PortInUse` or `AddressUnusable` for a listener that cannot be."""
    for name, gateway in settings.gateways.items():
        for listener in gateway.listeners:
            address = listener.address
            check_free(address.host, address.port, what=f'gateway "{name}"')


def api_url(listening: socket.socket, settings: Settings) -> str:
    """Where programs on this machine reach the API."""
    host, port = listening.getsockname()[:2]
    return _url(_WILDCARDS.get(host, host), port, settings)


def advertised_url(listening: socket.socket, settings: Settings) -> str:
    """Where programs on other machines reach the API."""
    host, port = listening.getsockname()[:2]
    if settings.controlplane.advertise is not None:
        told: Address = settings.controlplane.advertise
        return _url(told.host, told.port, settings)
    return _url(os.uname().nodename if host in _WILDCARDS else host, port, settings)


def _url(host: str, port: int, settings: Settings) -> str:
    scheme = "http" if settings.api_tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

"""The addresses of the gateway's sections."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from moreton.config.words import HOST, text
from moreton.gateway.core.model import Address

_PORT_MAX = 65_535


def read_address(value: Any) -> Address:
    """`127.0.0.1:8000`, `[::1]:8000` or `app.internal:8000`."""
    if isinstance(value, Address):
        return value
    host, colon, port = str(value).rpartition(":")
    if not colon or not port.isdigit() or not isinstance(value, str):
        raise ValueError(f"{value!r} is not an address; write one like 127.0.0.1:8000")
    if not 1 <= int(port) <= _PORT_MAX:
        raise ValueError(f"port {port} does not exist; use one from 1 to {_PORT_MAX}")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        if not HOST.fullmatch(bare):
            raise ValueError(f"{host!r} is not a host; write one like 127.0.0.1:8000") from None
        if re.fullmatch(r"[\d.]+", bare):
            raise ValueError(f"{host!r} is not an IP address; check its numbers") from None
    return Address(bare, int(port))


AddressText = Annotated[Address, *text(read_address, "127.0.0.1:8000")]

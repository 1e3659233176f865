"""The small grammars of the gateway's sections: addresses, hosts, paths, header names."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from moreton.gateway.core.model import Address, PathKind, PathPattern

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VARIABLE = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
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
        if not _HOST.fullmatch(bare):
            raise ValueError(f"{host!r} is not a host; write one like 127.0.0.1:8000") from None
        if re.fullmatch(r"[\d.]+", bare):
            raise ValueError(f"{host!r} is not an IP address; check its numbers") from None
    return Address(bare, int(port))


def show_address(address: Address) -> str:
    """The text that `read_address` reads back."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def read_host(value: Any) -> str:
    """A host that a route is for: `shop.example`, or `*.shop.example`."""
    text = str(value).lower()
    bare = text.removeprefix("*.")
    if not isinstance(value, str) or not _HOST.fullmatch(bare) or ":" in text:
        raise ValueError(
            f"{value!r} is not a host; write one like shop.example or *.shop.example, no port"
        )
    return text.rstrip(".")


def read_path(value: Any) -> PathPattern:
    """`/x` exact, `/x/*` prefix by segment, `/x/{id}` template."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"{value!r} is not a path; begin it with a slash, like /orders/*")
    if any(mark in value for mark in "?# ") or not value.isprintable():
        raise ValueError(
            f"{value!r} has a query, a fragment or a space; end it before, and use `query`"
        )
    if "//" in value:
        raise ValueError(f"{value!r} has an empty segment; requests are merged to one slash")
    rest = _VARIABLE.sub("", value)
    if "{" in rest or "}" in rest:
        raise ValueError(f"{value!r} has a broken variable; write one like /users/{{id}}")
    body, star, tail = value.partition("*")
    if star and (tail or not body.endswith("/")):
        raise ValueError(f"{value!r} has a * that is not a last segment; write it like /orders/*")
    if "{" in value:
        names = _VARIABLE.findall(value)
        if len(set(names)) != len(names):
            raise ValueError(f"{value!r} has a variable twice; give each its own name")
        for segment in value.split("/"):
            if "{" in segment and not _VARIABLE.fullmatch(segment):
                raise ValueError(
                    f"{value!r} has a variable that is not a whole segment; write /users/{{id}}"
                )
        return PathPattern(PathKind.TEMPLATE, value, value[: value.index("{")])
    if star:
        return PathPattern(PathKind.PREFIX, value, body.rstrip("/"))
    return PathPattern(PathKind.EXACT, value, value)


def read_header_name(value: str) -> str:
    """A header's name, in lower case."""
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"{value!r} is not a header name; use letters, digits and hyphens")
    return value.lower()


def read_header_value(value: Any) -> str:
    """A header's value: one line of text."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text; put it in quotes")  # noqa: TRY004
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"{value!r} has a line break; a header is one line")
    return value


def _text(read: Any, example: str) -> Any:
    return (BeforeValidator(read), WithJsonSchema({"type": "string", "examples": [example]}))


AddressText = Annotated[Address, *_text(read_address, "127.0.0.1:8000")]
HostText = Annotated[str, *_text(read_host, "shop.example")]
PathText = Annotated[PathPattern, *_text(read_path, "/orders/*")]

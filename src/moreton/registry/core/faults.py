"""What can be wrong with what is said of an instance: one sentence for each fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address, ip_address

# A label of a host name (RFC 1123, section 2.1; RFC 1035 gives the 63), so that each service can
# be a name in DNS.
_SERVICE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,127})")
# A service name of RFC 6335 without the 15 characters that it allows, so that SRV can ask for it.
_PORT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PORT_MAX = 65_535
_PORTS_MAX = 16
# The weight of an SRV record has 16 bits (RFC 2782).
_WEIGHT_MAX = 65_535
# Consul's limits on metadata, so that what fits there fits here.
_METADATA_PAIRS_MAX = 64
_METADATA_KEY_CHARS_MAX = 128
_METADATA_VALUE_CHARS_MAX = 512
_TAGS_MAX = 64
TEXT_CHARS_MAX = 255


def service_faults(name: str) -> Iterator[str]:
    """Of the name of a service."""
    if _SERVICE_NAME.fullmatch(name):
        return
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-")
    proposal = f', for example "{plain}"' if plain else ""
    yield (
        f'service name "{name}" is not valid; use 1 to 63 of a-z, 0-9 and -, beginning and '
        f"ending with a letter or digit (RFC 1123){proposal}"
    )


def id_faults(what: str, text: str) -> Iterator[str]:
    """Of the id of an instance, or of whatever *what* says."""
    if not _ID.fullmatch(text):
        yield (
            f"{what} {text!r} is not valid; use 1 to 128 letters, digits and . _ : -, "
            "beginning with a letter or digit"
        )


def address_faults(address: str) -> Iterator[str]:
    """Of an IP address."""
    try:
        found = ip_address(address)
    except ValueError:
        shown = readable(address)
        yield f'address "{shown}" is not an IP address; write one like 10.0.0.7 or fd00::7'
        return
    if found.is_unspecified or found.is_multicast:
        yield f"address {address} is not one that requests can be sent to; name the machine's own"
    elif isinstance(found, IPv6Address) and found.scope_id is not None:
        yield f"address {address} has a zone that means nothing on other machines; leave it out"


def port_faults(port: int) -> Iterator[str]:
    """Of the port that the service listens on."""
    if not 1 <= port <= _PORT_MAX:
        yield f"port {port} is outside 1 to {_PORT_MAX}; name the port that the service listens on"


def ports_faults(ports: Mapping[str, int]) -> Iterator[str]:
    """Of further ports by name."""
    if len(ports) > _PORTS_MAX:
        yield f"there are {len(ports)} named ports; at most {_PORTS_MAX} are kept"
    for name, port in list(ports.items())[:_PORTS_MAX]:
        if not _PORT_NAME.fullmatch(name):
            yield (
                f"port name {name[:20]!r} is not valid; use 1 to 63 of a-z, 0-9 and -, beginning "
                "and ending with a letter or digit"
            )
        if not 1 <= port <= _PORT_MAX:
            yield f"port {port} named {name[:20]!r} is outside 1 to {_PORT_MAX}; correct it"


def weight_faults(weight: int) -> Iterator[str]:
    """Of a weight."""
    if not 0 <= weight <= _WEIGHT_MAX:
        yield f"weight {weight} is outside 0 to {_WEIGHT_MAX}"


def text_faults(name: str, text: str) -> Iterator[str]:
    """Of a short text that is for people."""
    if len(text) > TEXT_CHARS_MAX:
        yield f"{name} has {len(text)} characters; at most {TEXT_CHARS_MAX} are kept"
    yield from unreadable_faults(name, text)


def tag_faults(tags: tuple[str, ...]) -> Iterator[str]:
    """Of tags."""
    if len(tags) > _TAGS_MAX:
        yield f"there are {len(tags)} tags; at most {_TAGS_MAX} are kept"
    for tag in tags[:_TAGS_MAX]:
        if not 1 <= len(tag) <= TEXT_CHARS_MAX:
            yield f"tag {tag[:20]!r} has {len(tag)} characters; use 1 to {TEXT_CHARS_MAX}"
        yield from unreadable_faults(f"tag {tag[:20]!r}", tag)


def metadata_faults(metadata: Mapping[str, str]) -> Iterator[str]:
    """Of metadata."""
    if len(metadata) > _METADATA_PAIRS_MAX:
        yield f"metadata has {len(metadata)} pairs; at most {_METADATA_PAIRS_MAX} are kept"
    for key, value in list(metadata.items())[:_METADATA_PAIRS_MAX]:
        if not 1 <= len(key) <= _METADATA_KEY_CHARS_MAX:
            yield (
                f"metadata key {key[:20]!r} has {len(key)} characters; "
                f"use 1 to {_METADATA_KEY_CHARS_MAX}"
            )
        if len(value) > _METADATA_VALUE_CHARS_MAX:
            yield (
                f"metadata {key[:20]!r} has {len(value)} characters; "
                f"at most {_METADATA_VALUE_CHARS_MAX} are kept"
            )
        yield from unreadable_faults(f"metadata {key[:20]!r}", key + value)


def readable(text: str) -> str:
    """*text* as every program can be told it: with `?` for halves of characters of UTF-16."""
    return text.encode(errors="replace").decode()


def unreadable_faults(what: str, text: str) -> Iterator[str]:
    """JSON can say what no encoding has: whoever answered with it would fail."""
    if not text.isascii() and readable(text) != text:
        yield (
            f"{what} has half of a character of UTF-16 (U+D800 to U+DFFF), which nobody could be "
            "told; write the whole character, or leave it out"
        )

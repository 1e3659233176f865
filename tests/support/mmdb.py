"""Small files in the MaxMind format. Source: the MaxMind DB file format specification, 2.0."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

_MAP, _TEXT, _UINT16, _UINT32, _UINT64, _ARRAY = 7, 2, 5, 6, 9, 11
_MARKER = b"\xab\xcd\xefMaxMind.com"
_SEPARATOR = bytes(16)


class Uint(int):
    """A number of a fixed width, in bits."""

    bits = 32

    @classmethod
    def of(cls, value: int, bits: int) -> Uint:
        found = cls(value)
        found.bits = bits
        return found


def write_mmdb(file: Path, networks: Mapping[str, Mapping[str, Any]]) -> Path:
    """A file that knows IPv4 *networks*, none of which is in another."""
    nodes: list[list[Any]] = [[None, None]]
    for text, data in networks.items():
        network = IPv4Network(text)
        bits = f"{int(network.network_address):032b}"[: network.prefixlen]
        at = 0
        for bit in bits[:-1]:
            if nodes[at][int(bit)] is None:
                nodes.append([None, None])
                nodes[at][int(bit)] = len(nodes) - 1
            at = nodes[at][int(bit)]
        nodes[at][int(bits[-1])] = dict(data)
    content, tree = b"", b""
    for pair in nodes:
        for record in pair:
            value = len(nodes) if record is None else record
            if isinstance(record, dict):
                value = len(nodes) + len(_SEPARATOR) + len(content)
                content += _encoded(record)
            tree += value.to_bytes(3, "big")
    about = {
        "node_count": Uint(len(nodes)),
        "record_size": Uint.of(24, 16),
        "ip_version": Uint.of(4, 16),
        "database_type": "Test",
        "languages": ["en"],
        "binary_format_major_version": Uint.of(2, 16),
        "binary_format_minor_version": Uint.of(0, 16),
        "build_epoch": Uint.of(1_700_000_000, 64),
        "description": {"en": "test"},
    }
    file.write_bytes(tree + _SEPARATOR + content + _MARKER + _encoded(about))
    return file


def _encoded(value: Any) -> bytes:
    match value:
        case dict():
            parts = [_encoded(part) for item in value.items() for part in item]
            return _control(_MAP, len(value)) + b"".join(parts)
        case list():
            return _control(_ARRAY, len(value)) + b"".join(map(_encoded, value))
        case str():
            return _control(_TEXT, len(value.encode())) + value.encode()
        case _:
            number = value if isinstance(value, Uint) else Uint(value)
            kind = {16: _UINT16, 32: _UINT32, 64: _UINT64}[number.bits]
            body = int(number).to_bytes((number.bit_length() + 7) // 8, "big")
            return _control(kind, len(body)) + body


def _control(kind: int, size: int) -> bytes:
    assert size < 29, "longer sizes are written in another way"
    return bytes([kind << 5 | size]) if kind <= _MAP else bytes([size, kind - 7])

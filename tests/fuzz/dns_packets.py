"""What strangers may send to the DNS server."""

from __future__ import annotations

import dns.message

from moreton.registry.dns.responder import Forward
from unit.registry.dns.asking import instance, query, responder, view

NAMES = (
    "orders.service.moreton.",
    "blue.orders.service.moreton.",
    "_orders._tcp.service.east.moreton.",
    "0a000001.addr.moreton.",
    "1.0.0.10.in-addr.arpa.",
    "moreton.",
    "example.org.",
)
KINDS = ("A", "AAAA", "SRV", "TXT", "PTR", "ANY", "SOA", "NS", "OPT")
MANY = [instance(f"i{n}", f"10.0.0.{n}", 8000 + n, tags=("blue",)) for n in range(12)]


def seeds() -> list[bytes]:
    """Valid inputs, to begin from; the first byte says how they come."""
    wires = [query(name, kind, edns=True).to_wire() for name in NAMES for kind in KINDS]
    return [bytes([number % 2]) + wire for number, wire in enumerate(wires)]


class Target:
    """Takes inputs: the first byte says whether they come over TCP."""

    def __init__(self) -> None:
        self._by = responder(view(MANY))

    def __call__(self, data: bytes) -> None:
        """Raises for whatever must not be."""
        over_tcp, wire = data[:1] == b"\1", data[1:]
        for _ in range(2):  # the second time maybe from memory
            self._judge(self._by.respond(wire, over_tcp=over_tcp), wire, over_tcp=over_tcp)

    def _judge(self, found: bytes | Forward | None, wire: bytes, *, over_tcp: bool) -> None:
        if isinstance(found, Forward):
            found = found.refusal
        if found is None:
            assert len(wire) < 12 or wire[2] & 0x80, "only what is no query is not answered"
            return
        assert found[:2] == wire[:2]
        assert found[2] & 0x80
        assert len(found) <= (65_535 if over_tcp else 1232)
        dns.message.from_wire(found, ignore_trailing=True)

"""A small registry, and questions to a responder of it."""

from __future__ import annotations

from collections.abc import Iterable

import dns.message
import dns.rcode
import dns.rdatatype

from moreton.kernel.rng import seeded_rng
from moreton.registry import Instance, InstanceId, InstancesListed, InstanceState, InstanceView
from moreton.registry.dns import DnsSettings, Responder


def instance(
    name: str,
    address: str = "10.0.0.1",
    port: int = 8000,
    *,
    service: str = "orders",
    zone: str = "",
    weight: int = 1,
    version: str = "",
    tags: tuple[str, ...] = (),
    state: InstanceState = InstanceState.SERVING,
) -> Instance:
    return Instance(
        InstanceId(name), service, address, port, zone, weight, version, tags, {}, state
    )


ORDERS = (
    instance("a", "10.0.0.1", 8001, zone="east", weight=3, tags=("blue", "V1.2")),
    instance("b", "10.0.0.2", 8002, zone="west", tags=("green",), version="7"),
    instance("c", "fd00::7", 8003, zone="east"),
    instance("d", "10.0.0.4", 8004, state=InstanceState.CRITICAL),
)
IDLE = (instance("e", "10.0.0.5", service="idle", state=InstanceState.DRAINING),)


def view(instances: Iterable[Instance] = (*ORDERS, *IDLE)) -> InstanceView:
    found = InstanceView()
    found.apply(InstancesListed(1, tuple(instances)))
    return found


def responder(known: InstanceView | None = None, settings: DnsSettings | None = None) -> Responder:
    return Responder(known or view(), settings or DnsSettings(), rng=seeded_rng(1))


def query(
    name: str, kind: str = "A", *, payload: int | None = None, edns: bool = False
) -> dns.message.QueryMessage:
    if payload is None and not edns:
        return dns.message.make_query(name, kind)
    return dns.message.make_query(name, kind, use_edns=0, payload=payload or 1232)


def ask(
    name: str,
    kind: str = "A",
    *,
    by: Responder | None = None,
    over_tcp: bool = False,
    payload: int | None = None,
) -> dns.message.Message:
    asked = query(name, kind, payload=payload)
    wire = (by or responder()).respond(asked.to_wire(), over_tcp=over_tcp)
    assert isinstance(wire, bytes)
    response = dns.message.from_wire(wire)
    assert response.id == asked.id
    return response


def code(response: dns.message.Message) -> str:
    return dns.rcode.to_text(response.rcode())


def texts(response: dns.message.Message, kind: str = "A") -> set[str]:
    """The records of *kind* in the answer."""
    wanted = dns.rdatatype.from_text(kind)
    return {
        record.to_text() for rrset in response.answer if rrset.rdtype == wanted for record in rrset
    }

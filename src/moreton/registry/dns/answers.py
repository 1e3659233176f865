"""From a name and a type to records: what is there, what is not, and where it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Protocol, TypeAlias

import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.rrset

from moreton.kernel.rng import Rng
from moreton.registry.core.changes import IpAddress, serving
from moreton.registry.core.instance import Instance
from moreton.registry.dns.names import (
    NAMESERVER_LABEL,
    AddressName,
    Apex,
    AskedName,
    NameServer,
    ReverseName,
    ServiceName,
    address_label,
)

IN = dns.rdataclass.IN
Type = dns.rdatatype.RdataType
# The library's own classes have no types.
_CLASSES: Mapping[Type, Any] = {
    Type.A: dns.rdtypes.IN.A.A,
    Type.AAAA: dns.rdtypes.IN.AAAA.AAAA,
    Type.NS: dns.rdtypes.ANY.NS.NS,
    Type.PTR: dns.rdtypes.ANY.PTR.PTR,
    Type.SOA: dns.rdtypes.ANY.SOA.SOA,
    Type.SRV: dns.rdtypes.IN.SRV.SRV,
    Type.TXT: dns.rdtypes.ANY.TXT.TXT,
}
Records: TypeAlias = list[dns.rrset.RRset]
# Consul's; clients sort by priority and then draw by weight.
_SRV_PRIORITY = 1
_TXT_BYTES_MAX = 255
_ADDRESSES = (Type.A, Type.AAAA)
# SOA timers for secondaries, of which there are none; RFC 1912's least values.
_REFRESH, _RETRY, _EXPIRE = 3600, 600, 86_400
_LABEL_CHARS_MAX = 63


class Directory(Protocol):
    """Who is where, as the server knows it now."""

    def of(self, service: str) -> Sequence[Instance]:
        """The instances of *service*, whatever their state."""
        ...

    def version(self, service: str) -> int:
        """A number that differs whenever the instances of *service* do; 0 if it has none."""
        ...

    def services_at(self, address: IpAddress) -> Sequence[str]:
        """The services that have a serving instance at *address*."""
        ...


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """How a server answers; raises `ValueError`.

    *domains*: names end in one of these. *ttl*: how long an answer may be kept; *negative_ttl*: one
    that says there is nothing. *address*: the server's own, for its NS record.
    """

    domains: Sequence[str] = ("moreton",)
    ttl: timedelta = timedelta(0)
    negative_ttl: timedelta = timedelta(0)
    address: str | None = None

    def __post_init__(self) -> None:
        if not self.domains:
            raise ValueError("there is no domain: no name would be the server's; give one")
        for domain in self.domains:
            labels = domain.split(".")
            if not all(1 <= len(label) <= _LABEL_CHARS_MAX for label in labels):
                raise ValueError(
                    f"{domain!r} is not a domain: no name could end in it; write one like moreton"
                )
            if domain != domain.lower():
                raise ValueError(f"{domain!r} has capital letters; write {domain.lower()!r}")
        if self.ttl < timedelta(0) or self.negative_ttl < timedelta(0):
            raise ValueError(f"ttl {self.ttl} or {self.negative_ttl} is negative; write 0s or more")


@dataclass(slots=True)
class Answer:
    """The sections of a response.

    An empty answer of code NOERROR: there is such a name, but no such record. *service* is the one
    that it rests on, if it may be kept until that changes. *more* are further addresses of the one
    set that *answer* then has: most responses can be written without a record for each.
    """

    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    answer: Records = field(default_factory=list)
    authority: Records = field(default_factory=list)
    additional: Records = field(default_factory=list)
    service: str | None = None
    more: Sequence[str] = ()

    def complete(self) -> Records:
        """The answer with *more* as records."""
        for address in self.more:
            kind = self.answer[0].rdtype
            self.answer[0].add(_record(kind, address))
        self.more = ()
        return self.answer


class Zone:
    """Answers from *directory*; *rng* shuffles, so that clients which take the first spread."""

    def __init__(self, directory: Directory, settings: DnsSettings, rng: Rng) -> None:
        self._directory = directory
        self._settings = settings
        self._rng = rng
        self._ttl = int(settings.ttl.total_seconds())

    def answer(
        self, asked: AskedName, domain: str, owner: dns.name.Name, rdtype: Type
    ) -> Answer | None:
        """What there is of *rdtype* at *owner*, which asks for *asked*; `None`: not the server's.

        *domain* is where *owner* is; empty for reverse names.
        """
        match asked:
            case ServiceName():
                found = self._service(asked, domain, owner, rdtype)
            case AddressName(address):
                found = Answer(answer=self._addresses([str(address)], owner, rdtype))
            case Apex():
                found = self._apex(domain, owner, rdtype)
            case NameServer():
                own = self._settings.address
                found = Answer(answer=self._addresses([own] if own else [], owner, rdtype))
            case ReverseName(address):
                return self._reverse(address, owner, rdtype)
            case _ if domain:
                found = Answer(dns.rcode.NXDOMAIN)
            case _:
                return None
        if not found.answer:
            found.authority = [self._soa(domain)]
        return found

    def _service(
        self, asked: ServiceName, domain: str, owner: dns.name.Name, rdtype: Type
    ) -> Answer:
        known = self._directory.of(asked.service)
        if not known:
            return Answer(dns.rcode.NXDOMAIN)
        found = [one for one in serving(known) if _is_meant(one, asked)]
        found.sort(key=lambda _: self._rng.random())
        out = Answer(service=asked.service)
        wanted: dict[Type, Callable[[], Records]] = {
            Type.SRV: lambda: self._srv(found, domain, owner),
            Type.TXT: lambda: self._txt(found, owner),
        }
        if rdtype is Type.ANY:  # RFC 8482: one set of records is enough
            rdtype = Type.SRV
        if rdtype in _ADDRESSES:
            addresses = list(dict.fromkeys(one.address for one in found))
            # Only one of IPv6 has colons.
            own = [each for each in addresses if (":" in each) is (rdtype is Type.AAAA)]
            out.answer, out.more = self._addresses(own[:1], owner, rdtype), own[1:]
        elif rdtype in wanted:
            out.answer = wanted[rdtype]()
        if rdtype is Type.SRV:
            out.additional = self._targets(found, domain)
        return out

    def _apex(self, domain: str, owner: dns.name.Name, rdtype: Type) -> Answer:
        out = Answer()
        if rdtype in {Type.SOA, Type.ANY}:
            out.answer = [self._soa(domain, owner)]
        elif rdtype is Type.NS:
            target = _name(NAMESERVER_LABEL, domain)
            out.answer = [self._set(owner, Type.NS, [_record(Type.NS, target)])]
            if self._settings.address:
                for kind in (Type.A, Type.AAAA):
                    out.additional += self._addresses([self._settings.address], target, kind)
        return out

    def _reverse(self, address: IpAddress, owner: dns.name.Name, rdtype: Type) -> Answer | None:
        services = self._directory.services_at(address)
        if not services:
            return None
        records = [
            _record(Type.PTR, _name(f"{service}.service", self._settings.domains[0]))
            for service in services
        ]
        if rdtype in {Type.PTR, Type.ANY}:
            return Answer(answer=[self._set(owner, Type.PTR, records)])
        return Answer(authority=[self._soa(self._settings.domains[0])])

    def _addresses(self, addresses: Sequence[str], owner: dns.name.Name, rdtype: Type) -> Records:
        records: dict[str, dns.rdata.Rdata] = {}
        for address in addresses:
            is_v4 = ip_address(address).version == 4
            if is_v4 and rdtype in {Type.A, Type.ANY}:
                records[address] = _record(Type.A, address)
            elif not is_v4 and rdtype in {Type.AAAA, Type.ANY}:
                records[address] = _record(Type.AAAA, address)
        if not records:
            return []
        kind = next(iter(records.values())).rdtype
        return [self._set(owner, kind, records.values())]

    def _srv(self, found: Sequence[Instance], domain: str, owner: dns.name.Name) -> Records:
        records = [
            _record(Type.SRV, _SRV_PRIORITY, one.weight, one.port, _target(one, domain))
            for one in found
        ]
        return [self._set(owner, Type.SRV, records)] if records else []

    def _targets(self, found: Sequence[Instance], domain: str) -> Records:
        addresses = dict.fromkeys(one.address for one in found)
        return [
            record
            for address in addresses
            for kind in (Type.A, Type.AAAA)
            for record in self._addresses(
                [address], _name(f"{address_label(address)}.addr", domain), kind
            )
        ]

    def _txt(self, found: Sequence[Instance], owner: dns.name.Name) -> Records:
        records = [
            _record(Type.TXT, [text.encode()[:_TXT_BYTES_MAX]])
            for one in found
            for text in _texts(one)
        ]
        return [self._set(owner, Type.TXT, dict.fromkeys(records))] if records else []

    def _soa(self, domain: str, owner: dns.name.Name | None = None) -> dns.rrset.RRset:
        """Says how long there being nothing may be remembered (RFC 2308)."""
        record = _record(
            Type.SOA,
            _name(NAMESERVER_LABEL, domain),
            _name("hostmaster", domain),
            1,
            _REFRESH,
            _RETRY,
            _EXPIRE,
            int(self._settings.negative_ttl.total_seconds()),
        )
        found = dns.rrset.RRset(owner or _name("", domain), IN, Type.SOA)
        found.add(record, int(self._settings.negative_ttl.total_seconds()))
        return found

    def _set(
        self, owner: dns.name.Name, kind: Type, records: Iterable[dns.rdata.Rdata]
    ) -> dns.rrset.RRset:
        found = dns.rrset.RRset(owner, IN, kind)
        found.update_ttl(self._ttl)
        for record in records:
            found.add(record)
        return found


def _record(kind: Type, *fields: Any) -> dns.rdata.Rdata:
    found: dns.rdata.Rdata = _CLASSES[kind](IN, kind, *fields)
    return found


def _is_meant(instance: Instance, asked: ServiceName) -> bool:
    if asked.zone is not None and instance.zone.lower() != asked.zone:
        return False
    return asked.tag is None or asked.tag in {tag.lower() for tag in instance.tags}


def _target(instance: Instance, domain: str) -> dns.name.Name:
    return _name(f"{address_label(instance.address)}.addr", domain)


def _name(labels: str, domain: str) -> dns.name.Name:
    return dns.name.from_text(f"{labels}.{domain}." if labels else f"{domain}.")


def _texts(instance: Instance) -> list[str]:
    """What RFC 6763, section 6, calls attributes, of one instance."""
    named = {"id": instance.id, "zone": instance.zone, "version": instance.version}
    out = [f"{name}={value}" for name, value in named.items() if value]
    out += [f"tag={tag}" for tag in instance.tags]
    return out + [f"{name}={value}" for name, value in sorted(instance.metadata.items())]

"""From the bytes of a query to the bytes of its response; never an exception."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from moreton.kernel.rng import Rng
from moreton.registry.dns.answers import Answer, Directory, DnsSettings, Zone
from moreton.registry.dns.names import read_name
from moreton.registry.dns.wires import HEADER_BYTES, question_end, reordered, with_more

# RFC 1035 without EDNS0; with it what fits one Ethernet frame (DNS flag day 2020).
DATAGRAM_BYTES = 512
DATAGRAM_BYTES_MAX = 1232
MESSAGE_BYTES_MAX = 65_535
# Answers that rest on one service, until that changes: so many, each in so many orders.
_REMEMBERED_MAX = 4096
_ORDERS = 8
_QUERY_RESPONSE_BIT = 0x80
_BADVERS = dns.rcode.BADVERS


@dataclass(frozen=True, slots=True)
class DnsStatistics:
    """What a responder did: *rcodes* counts responses by code, *dropped* what was no query."""

    queries: int
    rcodes: Mapping[str, int]
    truncated: int
    remembered: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Forward:
    """The query is not the server's own: whoever is told to may ask another server."""

    query: dns.message.Message
    refusal: bytes


@dataclass(slots=True)
class _Remembered:
    version: int
    service: str
    rcode: str
    truncated: bool
    tails: list[bytes] = field(default_factory=list)


class Responder:
    """Answers for the zone of *directory*. Not for several threads at once."""

    def __init__(self, directory: Directory, settings: DnsSettings, *, rng: Rng) -> None:
        self._directory = directory
        self._domains = tuple(settings.domains)
        self._zone = Zone(directory, settings, rng)
        self._rng = rng
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._rcodes: Counter[str] = Counter()
        self._truncated = self._from_memory = self._dropped = 0

    def statistics(self) -> DnsStatistics:
        """What it did so far."""
        return DnsStatistics(
            queries=self._rcodes.total(),
            rcodes=dict(self._rcodes),
            truncated=self._truncated,
            remembered=self._from_memory,
            dropped=self._dropped,
        )

    def respond(self, wire: bytes, *, over_tcp: bool) -> bytes | Forward | None:
        """The response to *wire*; `None` for what must not be answered: no query, or a response."""
        if len(wire) < HEADER_BYTES or wire[2] & _QUERY_RESPONSE_BIT:
            self._dropped += 1
            return None
        key = _key(wire, over_tcp=over_tcp)
        found = self._recall(key, wire) if key is not None else None
        if found is not None:
            return found
        try:
            query = dns.message.from_wire(wire)
        except dns.message.UnknownTSIGKey:
            return self._refusal(wire, dns.rcode.NOTAUTH)
        except (dns.exception.DNSException, ValueError):
            return self._refusal(wire, dns.rcode.FORMERR)
        return self._answer(query, wire, key, over_tcp=over_tcp)

    def _answer(
        self, query: dns.message.Message, wire: bytes, key: bytes | None, *, over_tcp: bool
    ) -> bytes | Forward:
        problem = _problem(query)
        if problem is not None:
            return self._render(query, Answer(problem), over_tcp=over_tcp)[0]
        question = query.question[0]
        labels = [label.decode("ascii", "replace").lower() for label in question.name.labels[:-1]]
        asked, domain = read_name(labels, self._domains)
        rdtype = dns.rdatatype.RdataType.make(question.rdtype)
        found = self._zone.answer(asked, domain, question.name, rdtype)
        if found is None:
            self._rcodes.subtract([dns.rcode.to_text(dns.rcode.REFUSED)])
            return Forward(
                query, self._render(query, Answer(dns.rcode.REFUSED), over_tcp=over_tcp)[0]
            )
        rendered, truncated = self._render(query, found, over_tcp=over_tcp)
        if key is not None and found.service is not None:
            self._remember(key, found, rendered, wire, truncated=truncated)
        return rendered

    def _render(
        self, query: dns.message.Message, answer: Answer, *, over_tcp: bool
    ) -> tuple[bytes, bool]:
        """The response, and whether something had to be left out."""
        self._rcodes[dns.rcode.to_text(answer.rcode)] += 1
        size = MESSAGE_BYTES_MAX if over_tcp else _datagram_bytes(query)
        response = dns.message.make_response(query, our_payload=DATAGRAM_BYTES_MAX)
        response.set_rcode(answer.rcode)
        if answer.answer or answer.authority:
            response.flags |= dns.flags.AA
        response.answer, response.authority = answer.answer, answer.authority
        response.additional = answer.additional
        found = _fitting(response, size)
        if answer.more:
            found = None if found is None else with_more(found, answer.more, size)
            if found is None:
                response.answer = answer.complete()
        if found is None:
            # Addresses beside an SRV record are a courtesy: they may be asked for.
            response.additional = []
            found = _fitting(response, size)
        if found is not None:
            return found, False
        self._truncated += 1
        return _truncated(response, size), True

    def _refusal(self, wire: bytes, rcode: dns.rcode.Rcode) -> bytes:
        """To what cannot be read beyond its header: the header alone."""
        self._rcodes[dns.rcode.to_text(rcode)] += 1
        opcode_and_rd = wire[2] & 0x79
        return wire[:2] + bytes([_QUERY_RESPONSE_BIT | opcode_and_rd, int(rcode)]) + bytes(8)

    def _recall(self, key: bytes, wire: bytes) -> bytes | None:
        found = self._remembered.get(key)
        if found is None:
            return None
        if found.version != self._directory.version(found.service):
            del self._remembered[key]
            return None
        end = question_end(wire)
        assert end is not None, "only what has a question is remembered"
        if len(found.tails) < _ORDERS and not self._reorder(found, end):
            return None  # one more order first
        self._from_memory += 1
        self._rcodes[found.rcode] += 1
        self._truncated += found.truncated
        tail = found.tails[self._rng.randrange(_ORDERS)]
        return wire[:2] + tail[: HEADER_BYTES - 2] + wire[HEADER_BYTES:end] + tail[end - 2 :]

    def _reorder(self, found: _Remembered, end: int) -> bool:
        """Whether all orders can be made of the one that there is, and were."""
        if found.truncated:
            return False  # each time other records are what fits
        response = bytes(2) + found.tails[0]
        orders = reordered(response, end, _ORDERS - len(found.tails), self._rng)
        found.tails.extend(each[2:] for each in orders)
        return bool(orders)

    def _remember(
        self, key: bytes, answer: Answer, rendered: bytes, wire: bytes, *, truncated: bool
    ) -> None:
        assert answer.service is not None, "only what rests on a service is remembered"
        end = question_end(wire)
        if end is None or rendered[HEADER_BYTES:end].lower() != wire[HEADER_BYTES:end].lower():
            return
        version = self._directory.version(answer.service)
        found = self._remembered.get(key)
        if found is None or found.version != version:
            rcode = dns.rcode.to_text(answer.rcode)
            found = _Remembered(version, answer.service, rcode, truncated)
            self._remembered[key] = found
        found.tails.append(rendered[2:])
        while len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)


def _problem(query: dns.message.Message) -> dns.rcode.Rcode | None:
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if query.edns > 0:
        return _BADVERS
    if len(query.question) != 1 or query.answer or query.authority:
        return dns.rcode.FORMERR
    question = query.question[0]
    if question.rdclass not in {dns.rdataclass.IN, dns.rdataclass.ANY}:
        return dns.rcode.REFUSED
    if question.rdtype in {dns.rdatatype.AXFR, dns.rdatatype.IXFR}:
        return dns.rcode.REFUSED
    return None


def _datagram_bytes(query: dns.message.Message) -> int:
    if query.edns < 0:
        return DATAGRAM_BYTES
    return min(max(query.payload, DATAGRAM_BYTES), DATAGRAM_BYTES_MAX)


def _fitting(response: dns.message.Message, size: int) -> bytes | None:
    try:
        found: bytes = response.to_wire(max_size=size, want_shuffle=False)
    except dns.exception.TooBig:
        return None
    return found


def _truncated(response: dns.message.Message, size: int) -> bytes:
    """As many records as fit, and the flag that says that there are more."""
    response.flags |= dns.flags.TC
    response.authority = []
    if not response.answer:
        # Several questions, which are refused: even to repeat them is too much.
        response.question = []
        return response.to_wire()
    whole = response.answer[0]
    low, high, best = 0, len(whole), b""
    while low <= high:
        middle = (low + high) // 2
        part = dns.rrset.RRset(whole.name, whole.rdclass, whole.rdtype)
        part.update_ttl(whole.ttl)
        for record in list(whole)[:middle]:
            part.add(record)
        response.answer = [part] if middle else []
        found = _fitting(response, size)
        if found is None:
            high = middle - 1
        else:
            best, low = found, middle + 1
    assert best, "a header and a question fit into every datagram"
    return best


def _key(wire: bytes, *, over_tcp: bool) -> bytes | None:
    """What two queries share that get the same response, but for its id and capital letters."""
    end = question_end(wire)
    if end is None:
        return None
    return bytes([over_tcp]) + wire[2:HEADER_BYTES] + wire[HEADER_BYTES:end].lower() + wire[end:]

"""What the responder makes of messages: sizes, refusals, rubbish."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.registry.dns import Responder
from moreton.registry.dns.responder import Forward
from unit.registry.dns.asking import ask, code, instance, query, responder, texts, view

pytestmark = pytest.mark.slow

MANY = [instance(f"i{n}", f"10.0.{n // 250}.{n % 250}", 8000 + n) for n in range(600)]


def respond(by: Responder, message: dns.message.Message) -> dns.message.Message:
    wire = by.respond(message.to_wire(), over_tcp=False)
    assert isinstance(wire, bytes)
    return dns.message.from_wire(wire)


@pytest.mark.parametrize(("payload", "limit"), [(None, 512), (100, 512), (900, 900), (4096, 1232)])
@pytest.mark.parametrize("kind", ["A", "SRV", "TXT"])
def test_datagram_is_no_larger_than_may_be_and_says_that_there_is_more(
    payload: int | None, limit: int, kind: str
) -> None:
    by = responder(view(MANY))
    wire = by.respond(
        query("orders.service.moreton.", kind, payload=payload).to_wire(), over_tcp=False
    )
    assert isinstance(wire, bytes)
    assert limit - 64 < len(wire) <= limit
    response = dns.message.from_wire(wire)
    assert response.flags & dns.flags.TC
    assert response.answer[0]
    assert by.statistics().truncated == 1


def test_everything_is_there_over_tcp() -> None:
    by = responder(view(MANY))
    response = ask("orders.service.moreton.", "SRV", by=by, over_tcp=True)
    assert not response.flags & dns.flags.TC
    assert len(texts(response, "SRV")) == len(MANY)


def test_addresses_beside_srv_records_are_left_out_before_records_are() -> None:
    by = responder(view(MANY[:10]))
    response = ask("orders.service.moreton.", "SRV", by=by)
    assert len(texts(response, "SRV")) == 10
    assert not response.additional
    assert not response.flags & dns.flags.TC


def test_edns_is_answered_with_edns_and_its_absence_without() -> None:
    assert ask("orders.service.moreton.", payload=1400).edns == 0
    assert ask("orders.service.moreton.").edns == -1


def test_later_version_of_edns_is_refused_as_such() -> None:
    message = query("orders.service.moreton.")
    message.use_edns(1)
    assert respond(responder(), message).rcode() == dns.rcode.BADVERS


def test_other_operation_than_a_query_is_not_implemented() -> None:
    message = query("orders.service.moreton.")
    message.set_opcode(dns.opcode.STATUS)
    assert code(respond(responder(), message)) == "NOTIMP"


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
def test_zone_is_not_handed_out(kind: str) -> None:
    assert code(respond(responder(), query("moreton.", kind))) == "REFUSED"


def test_class_chaos_is_refused() -> None:
    message = dns.message.make_query("version.bind.", "TXT", rdclass="CH")
    assert code(respond(responder(), message)) == "REFUSED"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("example.com.", "A"), ("9.9.9.9.in-addr.arpa.", "PTR"), (".", "NS"), ("eton.", "A")],
)
def test_name_that_is_not_ours_is_for_others_to_answer(name: str, kind: str) -> None:
    by = responder()
    found = by.respond(query(name, kind).to_wire(), over_tcp=False)
    assert isinstance(found, Forward)
    assert code(dns.message.from_wire(found.refusal)) == "REFUSED"


def test_response_is_never_answered_so_that_servers_cannot_be_set_upon_each_other() -> None:
    by = responder()
    message = dns.message.make_response(query("orders.service.moreton."))
    assert by.respond(message.to_wire(), over_tcp=False) is None
    assert by.respond(b"\0" * 11, over_tcp=False) is None
    assert by.statistics().dropped == 2


def test_query_that_cannot_be_read_is_told_so_with_its_id() -> None:
    wire = bytearray(query("orders.service.moreton.").to_wire())
    wire[12] = 60  # a label longer than the message
    found = responder().respond(bytes(wire), over_tcp=False)
    assert isinstance(found, bytes)
    assert found[:2] == bytes(wire[:2])
    assert code(dns.message.from_wire(found)) == "FORMERR"


def test_two_questions_at_once_are_refused() -> None:
    wire = query("orders.service.moreton.").to_wire()
    two = wire[:4] + b"\0\2" + wire[6:] + wire[12:]
    found = responder().respond(two, over_tcp=False)
    assert isinstance(found, bytes)
    assert code(dns.message.from_wire(found)) == "FORMERR"


def test_questions_that_do_not_fit_into_an_answer_are_refused_without_them() -> None:
    labels = [bytes([97 + n]) * 60 for n in range(12)]
    names = [labels[n : n + 4] for n in range(0, 12, 4)]
    questions = b"".join(
        b"".join(b"\x3c" + label for label in name) + b"\0\0\1\0\1" for name in names
    )
    wire = b"\0\7\1\0\0\3\0\0\0\0\0\0" + questions
    assert len(wire) > 512
    found = responder().respond(wire, over_tcp=False)
    assert isinstance(found, bytes)
    assert found[:2] == wire[:2]
    assert code(dns.message.from_wire(found)) == "FORMERR"


def judge(by: Responder, wire: bytes, *, over_tcp: bool) -> None:
    found = by.respond(wire, over_tcp=over_tcp)
    if isinstance(found, Forward):
        found = found.refusal
    if found is None:
        assert len(wire) < 12 or wire[2] & 0x80
        return
    assert found[:2] == wire[:2]
    assert found[2] & 0x80
    assert len(found) <= (65_535 if over_tcp else 1232)
    dns.message.from_wire(found, ignore_trailing=True)


@given(st.binary(max_size=600), st.booleans())
def test_rubbish_is_survived(wire: bytes, over_tcp: bool) -> None:  # noqa: FBT001 - hypothesis
    judge(responder(), wire, over_tcp=over_tcp)


@given(st.data())
def test_damaged_queries_are_survived(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["A", "SRV", "TXT", "PTR", "ANY", "OPT"]))
    name = data.draw(
        st.sampled_from(
            [
                "orders.service.moreton.",
                "_orders._tcp.moreton.",
                "1.0.0.10.in-addr.arpa.",
                "moreton.",
            ]
        )
    )
    wire = bytearray(query(name, kind, edns=data.draw(st.booleans())).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3))
    by = responder(view(MANY[:40]))
    for _ in range(12):  # from memory, too
        judge(by, bytes(wire[: len(wire) - cut]), over_tcp=data.draw(st.booleans()))


@pytest.mark.parametrize("kind", ["A", "AAAA", "SRV"])
@pytest.mark.parametrize("edns", [True, False])
def test_remembered_answers_say_the_same_in_other_orders(kind: str, edns: bool) -> None:  # noqa: FBT001
    both = [*MANY[:4], *(instance(f"v{n}", f"fd00::{n + 1}", 9000) for n in range(4))]
    by = responder(view(both))
    asked = query("Orders.service.MORETON.", kind, edns=edns)
    first = respond(by, asked)
    orders = set()
    for _ in range(100):
        found = respond(by, asked)
        assert found.question == first.question
        assert (found.flags, found.edns, found.answer) == (first.flags, first.edns, first.answer)
        assert set(map(str, found.additional)) == set(map(str, first.additional))
        orders.add(tuple(map(str, found.answer[0])))
    assert 4 < len(orders) <= 8
    assert by.statistics().remembered > 90


def test_answer_that_was_asked_for_once_is_kept_once() -> None:
    by = responder(view(MANY[:30]))
    for number in range(50):
        cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, number.to_bytes(8, "big"))
        asked = dns.message.make_query("orders.service.moreton.", "A", use_edns=0, options=[cookie])
        respond(by, asked)
    assert [len(each.tails) for each in by._remembered.values()] == [1] * 50


@pytest.mark.parametrize("count", [1, 2, 3, 30, 73, 74, 300])
@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_every_address_is_there_or_it_is_said_that_there_are_more(count: int, kind: str) -> None:
    both = [instance(f"i{n}", f"10.0.{n // 250}.{n % 250}", 8000) for n in range(count)]
    both += [instance(f"v{n}", f"fd00::{n + 1:x}", 8000) for n in range(count)]
    asked = query("orders.service.moreton.", kind, edns=True)
    wire = responder(view(both)).respond(asked.to_wire(), over_tcp=False)
    assert isinstance(wire, bytes)
    response = dns.message.from_wire(wire)
    found, expected = texts(response, kind), {each.address for each in both if ":" in each.address}
    if kind == "A":
        expected = {each.address for each in both} - expected
    assert found <= expected
    assert bool(response.flags & dns.flags.TC) is (found != expected)
    assert len(wire) <= 1232
    if found != expected:
        assert len(wire) > 1232 - 40, "as many as fit"
    whole = ask("orders.service.moreton.", kind, by=responder(view(both)), over_tcp=True)
    assert texts(whole, kind) == expected

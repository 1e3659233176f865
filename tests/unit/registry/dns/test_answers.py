"""What the names of the registry answer."""

from __future__ import annotations

from datetime import timedelta

import dns.flags
import dns.rdatatype
import pytest

from moreton.registry import InstanceRegistered, InstanceRemoved, InstancesListed, InstanceView
from moreton.registry.core.instance import InstanceId
from moreton.registry.dns import DnsSettings
from unit.registry.dns.asking import IDLE, ORDERS, ask, code, instance, responder, texts, view


def test_service_has_the_addresses_of_those_that_serve() -> None:
    response = ask("orders.service.moreton.")
    assert texts(response) == {"10.0.0.1", "10.0.0.2"}
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert texts(ask("orders.service.moreton.", "AAAA"), "AAAA") == {"fd00::7"}


def test_tag_and_zone_narrow_the_answer() -> None:
    assert texts(ask("blue.orders.service.moreton.")) == {"10.0.0.1"}
    assert texts(ask("orders.service.west.moreton.")) == {"10.0.0.2"}
    assert texts(ask("green.orders.service.east.moreton.")) == set()
    assert texts(ask("v1.2.orders.service.moreton.")) == {"10.0.0.1"}


def test_letters_of_either_case_ask_the_same_and_come_back_as_they_were() -> None:
    response = ask("OrDeRs.SERVICE.moreton.")
    assert texts(response) == {"10.0.0.1", "10.0.0.2"}
    assert response.question[0].name.to_text() == "OrDeRs.SERVICE.moreton."


def test_srv_says_port_and_weight_and_brings_the_addresses_along() -> None:
    response = ask("orders.service.moreton.", "SRV", over_tcp=True)
    assert texts(response, "SRV") == {
        "1 3 8001 0a000001.addr.moreton.",
        "1 1 8002 0a000002.addr.moreton.",
        f"1 1 8003 fd00{'0' * 27}7.addr.moreton.",
    }
    beside = {record.to_text() for rrset in response.additional for record in rrset}
    assert beside == {"10.0.0.1", "10.0.0.2", "fd00::7"}


@pytest.mark.parametrize(
    "name",
    [
        "_orders._tcp.moreton.",
        "_orders._tcp.service.moreton.",
        "_orders._udp.service.moreton.",
        "orders.service.moreton.",
    ],
)
def test_rfc_2782_name_asks_for_the_service(name: str) -> None:
    assert len(texts(ask(name, "SRV"), "SRV")) == 3


def test_rfc_2782_name_with_a_tag_or_a_zone_narrows() -> None:
    assert len(texts(ask("_orders._blue.service.moreton.", "SRV"), "SRV")) == 1
    assert len(texts(ask("_orders._tcp.service.west.moreton.", "SRV"), "SRV")) == 1


def test_target_of_an_srv_record_is_a_name_with_its_address() -> None:
    assert texts(ask("0a000001.addr.moreton.")) == {"10.0.0.1"}
    assert texts(ask(f"fd00{'0' * 27}7.addr.moreton.", "AAAA"), "AAAA") == {"fd00::7"}
    assert code(ask("0a0001.addr.moreton.")) == "NXDOMAIN"
    assert code(ask("zz000001.addr.moreton.")) == "NXDOMAIN"


def test_txt_tells_what_is_known_of_the_instances() -> None:
    found = texts(ask("green.orders.service.moreton.", "TXT"), "TXT")
    assert found == {'"id=b"', '"zone=west"', '"version=7"', '"tag=green"'}


def test_reverse_name_says_which_services_are_at_an_address() -> None:
    assert texts(ask("1.0.0.10.in-addr.arpa.", "PTR"), "PTR") == {"orders.service.moreton."}
    reverse = ".".join(reversed(f"fd00{'0' * 27}7")) + ".ip6.arpa."
    assert texts(ask(reverse, "PTR"), "PTR") == {"orders.service.moreton."}


def test_service_that_no_one_knows_does_not_exist_and_says_until_when() -> None:
    settings = DnsSettings(negative_ttl=timedelta(seconds=3))
    response = ask("nothing.service.moreton.", by=responder(settings=settings))
    assert code(response) == "NXDOMAIN"
    (soa,) = response.authority
    assert soa.rdtype == dns.rdatatype.SOA
    assert soa.ttl == 3
    assert soa.name.to_text() == "moreton."


def test_service_of_which_nothing_serves_exists_and_has_no_record() -> None:
    response = ask("idle.service.moreton.")
    assert code(response) == "NOERROR"
    assert not response.answer
    assert response.authority[0].rdtype == dns.rdatatype.SOA


def test_record_of_another_type_is_no_answer_but_no_error() -> None:
    response = ask("orders.service.moreton.", "MX")
    assert (code(response), response.answer) == ("NOERROR", [])
    assert response.authority


def test_domain_has_its_soa_and_its_name_server() -> None:
    by = responder(settings=DnsSettings(address="127.0.0.1"))
    assert ask("moreton.", "SOA", by=by).answer[0].rdtype == dns.rdatatype.SOA
    response = ask("moreton.", "NS", by=by)
    assert texts(response, "NS") == {"ns.moreton."}
    assert [record.to_text() for record in response.additional[0]] == ["127.0.0.1"]
    assert texts(ask("ns.moreton.", by=by)) == {"127.0.0.1"}


def test_several_domains_name_the_same_services() -> None:
    by = responder(settings=DnsSettings(domains=("moreton", "dc1.consul")))
    assert texts(ask("orders.service.dc1.consul.", by=by)) == {"10.0.0.1", "10.0.0.2"}
    assert "0a000001.addr.dc1.consul." in str(ask("orders.service.dc1.consul.", "SRV", by=by))


@pytest.mark.parametrize(
    "settings",
    [
        {"domains": ()},
        {"domains": ("more..ton",)},
        {"domains": ("Moreton",)},
        {"domains": ("m" * 64,)},
        {"ttl": timedelta(seconds=-1)},
    ],
)
def test_settings_that_could_not_be_served_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"write|give"):
        DnsSettings(**settings)  # type: ignore[arg-type]


def test_answers_come_in_many_orders_so_that_load_spreads() -> None:
    by = responder(view([instance(f"i{n}", f"10.0.1.{n}") for n in range(8)]))
    firsts = {ask("orders.service.moreton.", by=by).answer[0][0].to_text() for _ in range(200)}
    assert len(firsts) > 4
    assert by.statistics().remembered > 150


def test_answer_from_memory_follows_every_change_of_its_service_and_no_other() -> None:
    known = view()
    by = responder(known)
    for _ in range(20):
        ask("orders.service.moreton.", by=by)
    before = by.statistics().remembered
    known.apply(InstanceRegistered(2, instance("f", "10.0.0.9", service="other")))
    ask("orders.service.moreton.", by=by)
    assert by.statistics().remembered == before + 1
    known.apply(InstanceRemoved(3, "orders", InstanceId("a"), ORDERS[0]))
    assert texts(ask("orders.service.moreton.", by=by)) == {"10.0.0.2"}
    known.apply(InstancesListed(4, IDLE))
    assert code(ask("orders.service.moreton.", by=by)) == "NXDOMAIN"


def test_answer_from_memory_keeps_id_and_letters_of_its_own_question() -> None:
    by = responder()
    for _ in range(20):
        ask("orders.service.moreton.", by=by)
    response = ask("oRDERS.service.MORETON.", by=by)
    assert by.statistics().remembered > 0
    assert response.question[0].name.to_text() == "oRDERS.service.MORETON."
    assert texts(response) == {"10.0.0.1", "10.0.0.2"}


def test_version_of_a_service_changes_with_it_and_when_it_comes_back() -> None:
    known = InstanceView()
    seen = [known.version("orders")]
    for revision, instances in enumerate([ORDERS, ORDERS[:1], (), ORDERS[:1]]):
        known.apply(InstancesListed(revision, instances))
        seen.append(known.version("orders"))
    assert seen[0] == seen[3] == 0
    assert len(set(seen)) == 4

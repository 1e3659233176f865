from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.kernel.errors import MoretonError
from moreton.registry.core import documents
from moreton.registry.core.checks import Check, CommandProbe, GrpcProbe, HttpProbe, Probe
from moreton.registry.core.documents import (
    PREFIX,
    decode,
    decode_health,
    decode_order,
    encode,
    encode_health,
    encode_order,
    instance_key,
    parse_key,
    service_prefix,
)
from moreton.registry.core.instance import (
    Instance,
    InstanceId,
    check_service_name,
    check_ttl,
)
from moreton.registry.core.standing import (
    CheckResult,
    CheckStatus,
    Health,
    InstanceKind,
    InstanceSource,
    InstanceState,
    Order,
)
from moreton.registry.errors import InstanceNotValid


def made(**changes: Any) -> Instance:
    values: dict[str, Any] = {
        "id": InstanceId("a-1"),
        "service": "catalogue",
        "address": "10.0.0.7",
        "port": 8001,
    }
    return Instance(**{**values, **changes})


@pytest.mark.parametrize("name", ["a", "7", "catalogue", "a-b-c", "x" * 63, "0-9"])
def test_service_name_is_accepted_when_it_is_an_rfc_1123_label(name: str) -> None:
    check_service_name(name)
    assert made(service=name).service == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a.b", "a b", "a/b", "x" * 64, "a\n", "kätalog", "../x"]
)
def test_service_name_is_refused_when_it_is_no_rfc_1123_label(name: str) -> None:
    with pytest.raises(InstanceNotValid, match="is not valid; use 1 to 63 of a-z, 0-9 and -"):
        check_service_name(name)
    with pytest.raises(InstanceNotValid):
        made(service=name)


def test_refused_service_name_is_answered_with_one_that_works() -> None:
    with pytest.raises(InstanceNotValid, match='for example "my-service"'):
        check_service_name("My_Service")


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_port_is_refused_when_nothing_can_listen_there(port: int) -> None:
    with pytest.raises(InstanceNotValid, match=f"port {port} is outside 1 to 65535"):
        made(port=port)


@pytest.mark.parametrize("port", [1, 65_535])
def test_port_is_accepted_at_its_limits(port: int) -> None:
    assert made(port=port).port == port


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.7", "::1", "fd00::7"])
def test_address_is_accepted_when_requests_can_be_sent_to_it(address: str) -> None:
    assert made(address=address).address == address


@pytest.mark.parametrize(
    "address", ["", "shop.example", "0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0", "10.0.0.7:80"]
)
def test_address_is_refused_when_requests_cannot_be_sent_to_it(address: str) -> None:
    with pytest.raises(InstanceNotValid, match="address"):
        made(address=address)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"id": InstanceId("a/b")}, "instance id 'a/b' is not valid"),
        ({"id": InstanceId("")}, "instance id '' is not valid"),
        ({"id": InstanceId("x" * 129)}, "use 1 to 128"),
        ({"weight": -1}, "weight -1 is outside"),
        ({"weight": 65_536}, "weight 65536 is outside"),
        ({"ports": {"Admin": 80}}, "port name 'Admin' is not valid"),
        ({"ports": {"admin": 0}}, "port 0 named 'admin' is outside"),
        ({"ports": {f"p{n}": 80 for n in range(17)}}, "there are 17 named ports"),
        ({"zone": "z" * 256}, "zone has 256 characters"),
        ({"version": "v" * 256}, "version has 256 characters"),
        ({"tags": ("",)}, "tag '' has 0 characters"),
        ({"tags": ("t",) * 65}, "there are 65 tags"),
        ({"zone": "\ud800"}, "zone has half of a character of UTF-16"),
        ({"version": "\ud800"}, "version has half of a character of UTF-16"),
        ({"tags": ("\udfff",)}, r"tag '\udfff' has half of a character of UTF-16"),
        ({"metadata": {"k": "\ud800"}}, "metadata 'k' has half of a character of UTF-16"),
        ({"metadata": {"\ud800": "v"}}, r"metadata '\ud800' has half of a character of UTF-16"),
        ({"metadata": {"": "v"}}, "metadata key '' has 0 characters"),
        ({"metadata": {"k": "v" * 513}}, "metadata 'k' has 513 characters"),
        ({"metadata": {str(n): "" for n in range(65)}}, "metadata has 65 pairs"),
    ],
)
def test_instance_is_refused_when_a_property_is_out_of_bounds(
    changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InstanceNotValid) as refused:
        made(**changes)
    assert fault in str(refused.value)


def test_refusal_names_everything_that_is_wrong_at_once() -> None:
    with pytest.raises(InstanceNotValid) as refused:
        made(service="A", port=0, address="x", weight=-1, id=InstanceId("?"))
    assert len(refused.value.faults) == 5
    assert isinstance(refused.value, MoretonError)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("seconds", [1, 5, 86_400])
def test_ttl_is_accepted_within_its_limits(seconds: int) -> None:
    check_ttl(timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [-1, 0, 0.999, 86_401])
def test_ttl_is_refused_outside_its_limits(seconds: float) -> None:
    with pytest.raises(InstanceNotValid, match="is outside 1s to 1d"):
        check_ttl(timedelta(seconds=seconds))


def test_endpoint_has_brackets_when_the_address_is_ipv6() -> None:
    assert made(address="fd00::7").endpoint == "[fd00::7]:8001"
    assert made().endpoint == "10.0.0.7:8001"


INSTANCES = st.builds(
    Instance,
    id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,20}", fullmatch=True).map(InstanceId),
    service=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    address=st.sampled_from(["127.0.0.1", "::1", "10.1.2.3"]),
    port=st.integers(1, 65_535),
    zone=st.text(max_size=10),
    weight=st.integers(0, 65_535),
    version=st.text(max_size=10),
    tags=st.lists(st.text(min_size=1, max_size=10), max_size=5).map(tuple),
    metadata=st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=10), max_size=5),
    state=st.sampled_from(InstanceState),
    ports=st.dictionaries(
        st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True),
        st.integers(1, 65_535),
        max_size=3,
    ),
    kind=st.sampled_from(InstanceKind),
    source=st.sampled_from(InstanceSource),
)
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(lambda each: each.replace(microsecond=0))
ORDERS = st.builds(
    Order,
    state=st.sampled_from([InstanceState.DRAINING, InstanceState.MAINTENANCE]),
    since=MOMENTS,
    reason=st.text(max_size=20),
    by=st.text(max_size=20),
)
HEALTHS = st.builds(
    Health,
    checks=st.lists(
        st.builds(
            CheckResult,
            id=st.text(max_size=10),
            status=st.sampled_from(CheckStatus),
            since=MOMENTS,
            output=st.text(max_size=20),
        ),
        max_size=4,
    ).map(tuple),
)


@pytest.mark.slow
@given(INSTANCES)
def test_instance_is_the_same_after_being_written_and_read(instance: Instance) -> None:
    assert decode(encode(instance)) == instance
    key = instance_key(instance.service, instance.id)
    assert parse_key(key) == (instance.service, instance.id, "")
    part = instance_key(instance.service, instance.id, "order")
    assert parse_key(part) == (instance.service, instance.id, "order")
    assert key.startswith(service_prefix(instance.service))
    assert key.startswith(PREFIX)


@pytest.mark.slow
@given(ORDERS, HEALTHS)
def test_orders_and_health_are_the_same_after_being_written_and_read(
    order: Order, health: Health
) -> None:
    assert decode_order(encode_order(order)) == order
    assert decode_health(encode_health(health)) == health


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"state": "serving", "since": "2026-01-01T00:00:00+00:00"}',
        b'{"checks": [{"id": "a", "status": "odd", "since": "2026-01-01"}]}',
    ],
)
def test_bytes_are_no_order_and_no_health_when_nothing_of_ours_wrote_them(value: bytes) -> None:
    assert decode_order(value) is None
    assert decode_health(value) is None


def test_registration_without_newer_fields_is_read_and_written_as_before() -> None:
    old = (
        b'{"address":"10.0.0.7","id":"a-1","metadata":{},"port":8001,"service":"catalogue",'
        b'"state":"serving","tags":[],"version":"","weight":1,"zone":""}'
    )
    assert decode(old) == made(id=InstanceId("a-1"))
    assert encode(made(id=InstanceId("a-1"))) == old


def test_instance_is_read_when_a_later_version_has_other_kinds_and_sources() -> None:
    later = encode(made()).replace(b'{"address"', b'{"kind":"eternal","source":"oracle","address"')
    assert decode(later) == made()


@pytest.mark.parametrize("state", ["serving", "starting", "critical"])
def test_order_is_refused_when_nobody_can_obey_it(state: str) -> None:
    with pytest.raises(InstanceNotValid, match="nobody can be ordered to be"):
        Order(InstanceState(state), datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"[]", b"1", b"\xff", b'{"id": "a", "service": "b", "address": 1}']
)
def test_bytes_are_no_instance_when_nothing_of_ours_wrote_them(value: bytes) -> None:
    assert decode(value) is None


def test_instance_is_read_when_a_later_version_added_a_property() -> None:
    later = encode(made()).replace(b'{"address"', b'{"aura":"green","address"')
    assert decode(later) == made()


def test_key_lies_where_other_programs_look_for_it() -> None:
    assert instance_key("catalogue", "a-1") == b"/moreton/instances/catalogue/a-1"


@pytest.mark.slow
def test_same_bytes_are_one_object_for_as_long_as_anyone_has_it() -> None:
    one = Instance(InstanceId("1"), "catalogue", "10.0.0.1", 80, zone="a", metadata={"k": "v"})
    other = replace(one, id=InstanceId("2"))
    first, again, second = decode(encode(one)), decode(encode(one)), decode(encode(other))
    assert first == one
    assert first is again
    assert first is not None
    assert second is not None
    assert first.zone is second.zone
    gone = weakref.ref(first)
    del first, again
    gc.collect()
    assert gone() is None


@pytest.mark.slow
def test_words_that_are_never_the_same_take_no_room() -> None:
    for number in range(10_000):
        decode(encode(Instance(InstanceId("1"), "s", "10.0.0.1", 80, version=str(number))))
    assert len(documents._WORDS) <= 4096


@pytest.mark.parametrize(
    "probe",
    [HttpProbe(body="\ud800"), GrpcProbe("\ud800"), CommandProbe(("echo", "\ud800"))],
    ids=lambda probe: type(probe).__name__,
)
def test_check_is_refused_when_nobody_could_be_told_of_it(probe: Probe) -> None:
    with pytest.raises(InstanceNotValid, match="half of a character of UTF-16"):
        Check("own", probe)

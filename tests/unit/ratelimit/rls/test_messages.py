"""Envoy's messages are read as they are meant, also the fields that are younger than ours."""

from __future__ import annotations

import pytest
from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf import json_format, wrappers_pb2

from moreton.envoy.wire import delimited
from moreton.ratelimit import FixedWindow
from moreton.ratelimit.rls.core.answers import Answer, Descriptor, Override, Status
from moreton.ratelimit.rls.core.tree import Threshold, Unit
from moreton.ratelimit.rls.messages import DESCRIPTORS_MAX, NotUnderstood, read, write


def asked(**fields: object) -> rls_pb2.RateLimitRequest:
    return json_format.ParseDict({"domain": "d", **fields}, rls_pb2.RateLimitRequest())


ENTRY = {"entries": [{"key": "k", "value": "v"}]}


def test_costs_of_the_request_and_of_each_descriptor_are_read() -> None:
    request = asked(descriptors=[ENTRY, {**ENTRY, "hits_addend": 0}], hits_addend=7)
    _, descriptors, cost = read(request)
    assert cost == 7
    assert descriptors == [Descriptor((("k", "v"),)), Descriptor((("k", "v"),), 0)]
    assert read(asked(descriptors=[ENTRY]))[2] == 1


def test_hits_that_are_negative_are_given_back() -> None:
    request = asked(descriptors=[{**ENTRY, "hits_addend": 3}, ENTRY])
    for descriptor in request.descriptors:
        descriptor.MergeFromString(b"\x20\x01")  # is_negative_hits: true
    assert [one.cost for one in read(request)[1]] == [-3, -1]


def test_an_override_may_have_a_period_of_several_units() -> None:
    limit = {"requests_per_unit": 5, "unit": "MINUTE"}
    request = asked(descriptors=[{**ENTRY, "limit": limit}])
    assert read(request)[1][0].override == Override(5, Unit.MINUTE)
    units = wrappers_pb2.UInt32Value(value=15).SerializeToString()
    request.descriptors[0].limit.MergeFromString(delimited(3, units))
    assert read(request)[1][0].override == Override(5, Unit.MINUTE, 15)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"domain": "", "descriptors": [ENTRY]}, "domain must not be empty"),
        ({"descriptors": []}, "descriptor list must not be empty"),
        ({"descriptors": [ENTRY] * (DESCRIPTORS_MAX + 1)}, "are more than 64"),
        ({"descriptors": [{**ENTRY, "limit": {"requests_per_unit": 1}}]}, "the unit 0"),
    ],
)
def test_what_cannot_be_decided_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(NotUnderstood, match=words):
        read(asked(**fields))


def test_an_answer_tells_how_each_descriptor_stands() -> None:
    threshold = Threshold(FixedWindow("9/min"), 9, Unit.WEEK, 2, name="slow")
    answer = Answer(
        refused=True,
        statuses=(Status(over=True, threshold=threshold, reset_nanos=1_500_000_000), Status()),
        fields=[("retry-after", "2")],
        body=b"{}",
    )
    made = rls_pb2.RateLimitResponse.FromString(write(answer))
    assert made.overall_code == made.OVER_LIMIT
    assert [status.code for status in made.statuses] == [made.OVER_LIMIT, made.OK]
    told = made.statuses[0]
    assert told.current_limit.requests_per_unit == 9
    assert (told.current_limit.name, told.current_limit.unit) == ("slow", made.RateLimit.WEEK)
    assert b"\x22\x02\x08\x02" in told.current_limit.SerializeToString()  # unit_multiplier: 2
    assert told.duration_until_reset.seconds == 2
    assert (made.raw_body, made.response_headers_to_add[0].key) == (b"{}", "retry-after")


def test_a_delay_is_told_to_the_proxy_in_whole_milliseconds() -> None:
    made = rls_pb2.RateLimitResponse.FromString(
        write(Answer(refused=False, statuses=(), delay_nanos=1_000_001))
    )
    (header,) = made.request_headers_to_add
    assert (header.key, header.value) == ("x-envoy-fault-delay-request", "2")


def test_metadata_is_where_envoy_finds_it() -> None:
    answer = Answer(refused=False, statuses=(), metadata={"bucket": {"name": "a"}})
    made = rls_pb2.RateLimitResponse.FromString(write(answer))
    assert json_format.MessageToDict(made.dynamic_metadata) == {
        "metadata": {"bucket": {"name": "a"}}
    }

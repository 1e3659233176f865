from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.transactions.outbox.core.event import (
    Event,
    NotAnEvent,
    batch,
    decode,
    encode,
    read_batch,
)

PLACED = Event("order.placed", {"total": 1250}, "order-17", "/orders", "e1", "2026-01-02T03:04:05Z")


def test_event_is_written_in_the_json_event_format() -> None:
    assert json.loads(encode(PLACED)) == {
        "specversion": "1.0",
        "id": "e1",
        "source": "/orders",
        "type": "order.placed",
        "subject": "order-17",
        "time": "2026-01-02T03:04:05Z",
        "data": {"total": 1250},
    }


def test_bytes_travel_in_base64() -> None:
    event = Event("a", b"\x00\xff", source="/s", id="1")
    said = json.loads(encode(event))
    assert said["data_base64"] == "AP8="
    assert "data" not in said
    assert decode(encode(event)) == event


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=20)
@given(st.lists(JSON, max_size=4))
def test_batch_of_events_comes_back_as_it_was(data: list[Any]) -> None:
    events = [
        Event("t", each, f"s-{i}", "/s", str(i), extensions={"tries": i, "partitionkey": "k"})
        for i, each in enumerate(data)
    ]
    assert read_batch(batch([encode(event) for event in events])) == events


@pytest.mark.parametrize(
    ("event", "part"),
    [
        (Event("", source="/s", id="1"), "type"),
        (Event("t", source="", id="1"), "source"),
        (Event("t", source="/s", id=""), "id"),
        (Event("t", "x" * 3, "s\n", "/s", "1"), "subject"),
        (Event("t", float("nan"), source="/s", id="1"), "data"),
        (Event("t", object(), source="/s", id="1"), "data"),
        (Event("t" * 513, source="/s", id="1"), "513"),
        (Event("t", source="/s", id="1", extensions={"Upper": 1}), "'Upper'"),
        (Event("t", source="/s", id="1", extensions={"data": 1}), "'data'"),
        (Event("t", source="/s", id="1", extensions={"big": 2**31}), "big"),
    ],
)
def test_event_that_cloudevents_cannot_say_is_refused_with_its_part(
    event: Event, part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        encode(event)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[",
        "17",
        '"x"',
        "{}",
        '{"specversion":"0.3","id":"1","source":"/s","type":"t"}',
        '{"specversion":"1.0","id":1,"source":"/s","type":"t"}',
        '{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"?"}',
        '{"specversion":"1.0","id":"1","source":"/s","type":"t","nested":{}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_event_is_told_and_not_raised(text: str) -> None:
    (found,) = read_batch(text.encode())
    assert isinstance(found, NotAnEvent)
    assert found.reason
    assert found.id == read_batch(text.encode())[0].id


def test_bytes_that_are_no_text_are_told_too() -> None:
    (found,) = read_batch(b"\xff\xfe")
    assert isinstance(found, NotAnEvent)


def test_key_is_the_partition_key_else_the_subject_else_the_id() -> None:
    assert Event("t", id="1").key == "1"
    assert Event("t", id="1", subject="s").key == "s"
    assert Event("t", id="1", subject="s", extensions={"partitionkey": "p"}).key == "p"

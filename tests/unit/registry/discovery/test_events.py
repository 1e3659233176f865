from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.registry.discovery.core import events
from moreton.registry.discovery.core.events import EventParser, ServerEvent

STREAM = (
    b": moreton\n\n"
    b'event: listed\nid: 7-abc\ndata: {"instances":\ndata: []}\n\n'
    b"event: no data\n\n"
    b": still here\n\n"
    b"data: caf\xc3\xa9\r\n\r\n"
    b"retry: 10\nunknown\nevent: removed\nid: 8-abc\ndata:x\n\n"
)
FOUND = [
    ServerEvent("listed", '{"instances":\n[]}', "7-abc"),
    ServerEvent("message", "café", "7-abc"),
    ServerEvent("removed", "x", "8-abc"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    parser = EventParser()
    ends = [0, *sorted(cuts), len(STREAM)]
    found = [event for start, end in pairwise(ends) for event in parser.feed(STREAM[start:end])]
    assert found == FOUND


@given(st.lists(st.binary(max_size=30), max_size=30))
def test_no_bytes_whatever_break_the_parser(parts: list[bytes]) -> None:
    parser = EventParser()
    for part in parts:
        for event in parser.feed(part):
            assert event.data is not None


@pytest.mark.parametrize("unit", [b"x", b"data: 0123456789\n"])
def test_event_without_an_end_is_refused_at_its_bound(
    unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVENT_BYTES_MAX", 1000)
    parser = EventParser()
    parser.feed(unit * (900 // len(unit)))
    with pytest.raises(ValueError, match="above 1000 bytes"):
        parser.feed(unit * 200)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.registry.consul.core.keys.entries import (
    Entry,
    OnEnd,
    decode,
    encode,
    level,
    released,
)
from moreton.store import KeyValue

pytestmark = pytest.mark.slow

ENTRIES = st.builds(
    Entry,
    key=st.text(min_size=1, max_size=20),
    value=st.binary(max_size=100),
    flags=st.integers(0, (1 << 64) - 1),
    session=st.sampled_from(["", "a", "b"]),
    lock_index=st.integers(0, 1 << 40),
    on_end=st.builds(OnEnd, st.booleans(), st.integers(0, 60_000_000_000)),
)


@given(ENTRIES)
def test_entry_is_read_back_with_the_revisions_of_the_store(entry: Entry) -> None:
    found = decode(entry.key, KeyValue(b"k", encode(entry), 7, 9, 2))
    assert found is not None
    assert found.says_the_same_as(entry)
    assert (found.create_index, found.modify_index) == (7, 9)


@given(st.binary(max_size=200))
def test_what_we_never_wrote_is_no_entry_and_no_error(value: bytes) -> None:
    found = decode("k", KeyValue(b"k", value, 7, 9, 2))
    assert found is None or found.key == "k"


def test_entry_whose_session_ended_goes_or_stays_as_the_session_said() -> None:
    entry = Entry("k", b"v", 3, "session", 4, OnEnd(deletes=False, delay=5))
    assert released(entry) == Entry("k", b"v", 3, "", 4)
    assert released(Entry("k", session="session", on_end=OnEnd(deletes=True))) is None


@given(st.lists(st.text("ab/", max_size=8), max_size=20).map(sorted))
def test_level_cuts_behind_the_first_separator_and_names_each_once(keys: list[str]) -> None:
    found = level(keys, "", "/")
    assert len(set(found)) == len(found)
    assert all(each.find("/") in {-1, len(each) - 1} for each in found)
    assert all(any(key.startswith(each) for each in found) for key in keys)
    assert level(keys, "", "") == keys

"""What disks and wires hold comes back as it was, and damaged bytes are never taken for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.consensus.codec import (
    decode_configuration,
    decode_entries,
    decode_hard_state,
    decode_snapshot,
    encode_configuration,
    encode_entries,
    encode_hard_state,
    encode_snapshot,
)
from moreton.consensus.core.messages import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    SnapshotMeta,
)

numbers = st.integers(0, 2**64 - 1)
nodes = st.frozensets(st.integers(1, 2**64 - 1), max_size=7)
entries = st.lists(
    st.builds(Entry, numbers, numbers, st.sampled_from(EntryKind), st.binary(max_size=300))
)
configurations = st.builds(Configuration, nodes, nodes, nodes, nodes, st.booleans())
hard_states = st.builds(HardState, numbers, st.none() | st.integers(1, 2**64 - 1), numbers)
snapshots = st.builds(SnapshotMeta, numbers, numbers, configurations)

CODECS: list[tuple[Any, Callable[[Any], bytes], Callable[..., Any]]] = [
    (entries.map(tuple), encode_entries, decode_entries),
    (hard_states, encode_hard_state, decode_hard_state),
    (configurations, encode_configuration, decode_configuration),
    (snapshots, encode_snapshot, decode_snapshot),
]


@pytest.mark.parametrize(("values", "encode", "decode"), CODECS, ids=lambda p: str(p)[:24])
@given(data=st.data())
def test_everything_comes_back_between_other_bytes(
    values: Any, encode: Callable[[Any], bytes], decode: Callable[..., Any], data: st.DataObject
) -> None:
    value = data.draw(values)
    before, after = data.draw(st.binary(max_size=9)), data.draw(st.binary(max_size=9))
    encoded = encode(value)
    assert decode(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


@pytest.mark.parametrize(("values", "encode", "decode"), CODECS, ids=lambda p: str(p)[:24])
@given(data=st.data())
def test_what_is_cut_short_is_refused(
    values: Any, encode: Callable[[Any], bytes], decode: Callable[..., Any], data: st.DataObject
) -> None:
    encoded = encode(data.draw(values))
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ValueError, match=r"end|before|begins"):
        decode(encoded[:cut])


@pytest.mark.parametrize("decode", [one[2] for one in CODECS])
@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_value_error(decode: Callable[..., Any], data: bytes) -> None:
    with suppress(ValueError):
        decode(data)


def test_a_kind_that_nobody_knows_is_refused() -> None:
    encoded = bytearray(encode_entries([Entry(1, 2)]))
    encoded[4 + 16] = 9
    with pytest.raises(ValueError, match="kind that nobody knows"):
        decode_entries(bytes(encoded))

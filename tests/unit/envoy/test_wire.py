from __future__ import annotations

import pytest
from envoy.config.core.v3 import base_pb2
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from moreton.envoy.wire import (
    Splice,
    any_bytes,
    content_hash,
    delimited,
    delimited_parts,
    digest,
    header,
    serialize,
    varint,
)

pytestmark = pytest.mark.slow

KEYS = st.text(alphabet="ab/", max_size=4)


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_varint_is_read_back_by_protobuf(number: int) -> None:
    # UInt64Value { uint64 value = 1 }
    assert wrappers_pb2.UInt64Value.FromString(b"\x08" + varint(number)).value == number


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=100))
def test_delimited_is_its_header_and_its_body(body: bytes, field: int) -> None:
    assert delimited(field, body) == header(field, len(body)) + body
    assert delimited_parts(field, [body[:7], body[7:]]) == delimited(field, body)


def test_message_joined_from_fields_is_the_message() -> None:
    joined = delimited(1, b"x-a") + delimited(2, "gr\u00fcn".encode())
    assert base_pb2.HeaderValue.FromString(joined) == base_pb2.HeaderValue(
        key="x-a", value="gr\u00fcn"
    )


def test_any_bytes_is_what_pack_makes() -> None:
    message = base_pb2.HeaderValue(key="a" * 200, value="b")
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    assert any_bytes(message) == serialize(packed)


def test_serialize_does_not_depend_on_the_order_of_insertion() -> None:
    names = [f"n{number}" for number in range(50)]
    forwards, backwards = struct_pb2.Struct(), struct_pb2.Struct()
    for name in names:
        forwards.fields[name].number_value = 1
    for name in reversed(names):
        backwards.fields[name].number_value = 1
    assert serialize(forwards) == serialize(backwards)


def test_content_hash_is_of_the_concatenation() -> None:
    assert content_hash(b"ab", b"c") == content_hash(b"abc")
    assert content_hash(b"abc") == digest(b"abc").hex()
    assert content_hash(b"abc") != content_hash(b"abd")


@given(
    st.lists(
        st.tuples(st.dictionaries(KEYS, st.binary(max_size=5), max_size=50), st.lists(KEYS)),
        max_size=6,
    )
)
def test_splice_is_a_sorted_dictionary(
    changes: list[tuple[dict[str, bytes], list[str]]],
) -> None:
    splice, twin = Splice(), dict[str, bytes]()
    for put, removed in changes:
        splice.update({key: (part, digest(part)) for key, part in put.items()}, removed)
        for key in removed:
            twin.pop(key, None)
        twin.update(put)
        ordered = [twin[key] for key in sorted(twin)]
        assert splice.parts() == ordered
        assert splice.size == sum(map(len, ordered))
        assert len(splice) == len(twin)
        assert splice.digest() == digest(*map(digest, ordered))
        assert list(splice.keys_from("a")) == [key for key in sorted(twin) if key.startswith("a")]
        assert all(key in splice for key in twin)
        assert all(splice.get(key) == (part, digest(part)) for key, part in twin.items())


def test_splice_takes_many_new_keys_at_once() -> None:
    splice = Splice()
    splice.update({"m": (b"m", digest(b"m"))})
    names = [f"{number:04}" for number in range(500)]
    splice.update({name: (name.encode(), digest(name.encode())) for name in names})
    assert splice.parts() == [*(name.encode() for name in names), b"m"]

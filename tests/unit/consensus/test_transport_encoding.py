"""What goes on the wire comes back as it was; anything else is a `BadFrame` and nothing worse."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Configuration,
    Entry,
    EntryKind,
    ForwardProposal,
    ForwardRead,
    ForwardReadResponse,
    ForwardTransfer,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    RequestVote,
    RequestVoteResponse,
    SnapshotMeta,
    TimeoutNow,
)
from moreton.consensus.transport.core.encoding import decode_message, encode_message
from moreton.consensus.transport.core.framing import Frames, frame, item, items
from moreton.consensus.transport.core.handshake import (
    Channel,
    Hello,
    Party,
    Reason,
    Refusal,
    Welcome,
    decode_hello,
    decode_reply,
    encode_hello,
    encode_refusal,
    encode_welcome,
)
from moreton.consensus.transport.core.sealing import Opener, Sealer
from moreton.consensus.transport.errors import BadFrame

pytestmark = pytest.mark.slow

NUMBERS = st.integers(0, 2**64 - 1)
NODES = st.integers(1, 2**64 - 1)
BYTES = st.binary(max_size=200)
ENTRIES = st.lists(
    st.builds(Entry, NUMBERS, NUMBERS, st.sampled_from(EntryKind), BYTES), max_size=5
).map(tuple)
GROUPS = st.frozensets(NODES, max_size=5)
CONFIGURATIONS = st.builds(Configuration, GROUPS, GROUPS, GROUPS, GROUPS, st.booleans())
FIELDS: dict[type[Any], dict[str, st.SearchStrategy[Any]]] = {
    RequestVote: {
        "last_index": NUMBERS,
        "last_term": NUMBERS,
        "pre": st.booleans(),
        "transfer": st.booleans(),
        "commit": NUMBERS,
        "commit_term": NUMBERS,
    },
    RequestVoteResponse: {
        "granted": st.booleans(),
        "pre": st.booleans(),
        "commit": NUMBERS,
        "commit_term": NUMBERS,
    },
    AppendEntries: {
        "prev_index": NUMBERS,
        "prev_term": NUMBERS,
        "entries": ENTRIES,
        "commit": NUMBERS,
    },
    AppendEntriesResponse: {
        "index": NUMBERS,
        "rejected": st.booleans(),
        "hint_index": NUMBERS,
        "hint_term": NUMBERS,
    },
    Heartbeat: {"commit": NUMBERS, "round": NUMBERS},
    HeartbeatResponse: {"round": NUMBERS},
    InstallSnapshot: {"snapshot": st.builds(SnapshotMeta, NUMBERS, NUMBERS, CONFIGURATIONS)},
    TimeoutNow: {},
    ForwardProposal: {"entries": ENTRIES},
    ForwardRead: {"context": BYTES},
    ForwardReadResponse: {"context": BYTES, "index": NUMBERS},
    ForwardTransfer: {"transferee": NODES},
}
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    *(
        st.builds(kind, source=st.just(1), target=st.just(2), term=NUMBERS, **fields)
        for kind, fields in FIELDS.items()
    )
)


def decode_all(body: bytes) -> list[Message]:
    return [
        decode_message(kind, body, start, end, source=1, target=2)
        for kind, start, end in items(body)
    ]


def test_every_field_of_every_message_is_tried() -> None:
    assert set(FIELDS) == set(get_args(Message))
    for kind, tried in FIELDS.items():
        addressed = {"source", "target", "term"}
        assert {field.name for field in dataclasses.fields(kind)} == {*tried, *addressed}, kind


@given(st.lists(MESSAGES, max_size=4))
def test_messages_come_back_as_they_were(messages: list[Message]) -> None:
    assert decode_all(b"".join(map(encode_message, messages))) == messages


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_a_bad_frame(body: bytes) -> None:
    with contextlib.suppress(BadFrame):
        decode_all(body)


@given(st.integers(0, 15), st.binary(max_size=120))
def test_any_content_of_any_kind_decodes_or_is_a_bad_frame(kind: int, content: bytes) -> None:
    with contextlib.suppress(BadFrame):
        decode_all(item(kind, content))


@given(MESSAGES, st.data())
def test_a_damaged_message_decodes_or_is_a_bad_frame(message: Message, data: st.DataObject) -> None:
    body = bytearray(encode_message(message))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(BadFrame):
        decode_all(bytes(body))


@given(MESSAGES, st.data())
def test_a_message_cut_short_is_a_bad_frame(message: Message, data: st.DataObject) -> None:
    body = encode_message(message)
    with pytest.raises(BadFrame):
        decode_all(body[: data.draw(st.integers(1, len(body) - 1))])


def test_a_count_of_entries_that_cannot_be_there_costs_nothing() -> None:
    head = encode_message(AppendEntries(source=1, target=2, term=1, prev_index=0, prev_term=0))
    forged = head[:-4] + (2**32 - 1).to_bytes(4, "little")
    with pytest.raises(BadFrame):
        decode_all(forged)


@given(st.lists(st.binary(max_size=50), max_size=5), st.lists(st.integers(1, 40), max_size=40))
def test_frames_are_found_however_the_stream_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, bodies))
    frames, found, start = Frames(50), [], 0
    for cut in [*cuts, len(stream)]:
        found += frames.feed(stream[start : start + cut])
        start += cut
    assert found == bodies
    assert frames.is_between


def test_a_frame_beyond_the_limit_is_refused_before_it_has_arrived() -> None:
    with pytest.raises(BadFrame, match="101 bytes"):
        Frames(100).feed((101).to_bytes(4, "little"))


@given(st.binary(max_size=300))
def test_any_handshake_decodes_or_is_a_bad_frame(body: bytes) -> None:
    for decode in (decode_hello, decode_reply):
        with contextlib.suppress(BadFrame):
            decode(body)


@given(st.text(max_size=60), st.text(max_size=60), NODES, st.sampled_from(Channel))
def test_hellos_come_back_as_they_were(
    cluster: str, address: str, node: int, channel: Channel
) -> None:
    party = Party(cluster, node, bytes(16))
    hello = Hello(party, 2, channel, bytes(32), 12, address, has_secret=True)
    assert decode_hello(encode_hello(hello)) == hello
    with contextlib.suppress(BadFrame):
        decode_hello(encode_hello(hello)[:-1])


def test_welcomes_and_refusals_come_back_as_they_were() -> None:
    welcome = Welcome(3, bytes(16), bytes(32), 12, b"proof")
    assert decode_reply(encode_welcome(welcome)) == welcome
    refusal = Refusal(Reason.OTHER_CLUSTER, "why", bytes(16))
    assert decode_reply(encode_refusal(refusal)) == refusal


def test_another_version_is_understood_as_one() -> None:
    hello = Hello(Party("forest", 1, bytes(16)), 2, Channel.MESSAGES, bytes(32), 1, "", True)
    body = bytearray(encode_hello(hello))
    body[12] = 99
    refusal = decode_hello(bytes(body))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.OTHER_VERSION
    assert "version 99" in refusal.detail


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda frames: [frames[0], frames[0]], id="repeated"),
        pytest.param(lambda frames: [frames[0], frames[2]], id="left out"),
        pytest.param(lambda frames: [frames[1], frames[0]], id="out of order"),
        pytest.param(lambda frames: [frames[0][:-1] + b"!"], id="changed"),
        pytest.param(lambda _: [b"short"], id="without a seal"),
        pytest.param(lambda _: [bytes(16) + b"mine"], id="forged"),
    ],
)
def test_a_sealed_frame_cannot_be(change: Any) -> None:
    sealer, opener = Sealer(bytes(32)), Opener(bytes(32))
    frames = [sealer.seal([b"%d" % number])[4:] for number in range(3)]
    with pytest.raises(BadFrame):
        [opener.open(one) for one in change(frames)]


def test_a_sealed_frame_of_another_key_is_not_opened() -> None:
    with pytest.raises(BadFrame):
        Opener(bytes(32)).open(Sealer(b"x" * 32).seal([b"hello"])[4:])


def test_sealed_frames_in_order_open() -> None:
    sealer, opener = Sealer(bytes(32)), Opener(bytes(32))
    for number in range(3):
        sealed = sealer.seal([b"a", b"%d" % number])
        assert opener.open(sealed[4:]) == b"a%d" % number

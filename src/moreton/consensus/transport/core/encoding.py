"""Messages as items of a frame.

The sender and the target are those of the connection, so that no node can speak for another.
Numbers are little-endian, 64 bits each; entries and snapshots are as `moreton.consensus.codec`
writes them. What the decoder does not understand is a `BadFrame`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from struct import Struct
from struct import error as struct_error
from typing import Any

from moreton.consensus.codec import (
    decode_entries,
    decode_snapshot,
    encode_entries,
    encode_snapshot,
)
from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    ForwardProposal,
    ForwardRead,
    ForwardReadResponse,
    ForwardTransfer,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    NodeId,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from moreton.consensus.transport.core.framing import ITEM, item
from moreton.consensus.transport.errors import BadFrame

# The numbers are for wires and never change.
_APPEND, _FORWARD_PROPOSAL, _INSTALL = 1, 2, 3
_VOTE = ("term", "last_index", "last_term", "pre", "transfer", "commit", "commit_term")
_COMMIT = ("commit", "commit_term")
# Messages of numbers alone: kind, format, fields.
_PLAIN: tuple[tuple[type[Any], int, str, tuple[str, ...]], ...] = (
    (AppendEntriesResponse, 4, "<QQ?QQ", ("term", "index", "rejected", "hint_index", "hint_term")),
    (Heartbeat, 5, "<QQQ", ("term", "commit", "round")),
    (HeartbeatResponse, 6, "<QQ", ("term", "round")),
    (RequestVote, 7, "<QQQ??QQ", _VOTE),
    (RequestVoteResponse, 8, "<Q??QQ", ("term", "granted", "pre", "commit", "commit_term")),
    (TimeoutNow, 9, "<Q", ("term",)),
    (ForwardTransfer, 10, "<QQ", ("term", "transferee")),
)
# Messages that end in a context of any bytes: kind, format, fields before it.
_CONTEXT: tuple[tuple[type[Any], int, str, tuple[str, ...]], ...] = (
    (ForwardRead, 11, "<Q", ("term",)),
    (ForwardReadResponse, 12, "<QQ", ("term", "index")),
)
MESSAGE_KINDS = frozenset(range(1, 13))

_APPEND_HEAD = Struct("<IBQQQQ")
_APPEND_FIELDS = Struct("<QQQQ")
_TERM = Struct("<Q")


def encode_message(message: Message) -> bytes:
    """*message* as an item."""
    if isinstance(message, AppendEntries):
        return _encode_append(message)
    return _ENCODERS[type(message)](message)


def decode_message(
    kind: int, body: bytes, start: int, end: int, *, source: NodeId, target: NodeId
) -> Message:
    """The message in `body[start:end]`, sent by *source* to *target*. Raises `BadFrame`."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise BadFrame(f"{kind} is no kind of message")
    try:
        return decoder(body, start, end, source, target)
    except (struct_error, ValueError) as error:
        raise BadFrame(f"a message of kind {kind} is broken ({error})") from error


def _encode_append(message: AppendEntries) -> bytes:
    entries = encode_entries(message.entries)
    head = _APPEND_HEAD.pack(
        _APPEND_FIELDS.size + len(entries),
        _APPEND,
        message.term,
        message.prev_index,
        message.prev_term,
        message.commit,
    )
    return head + entries


def _decode_append(
    body: bytes, start: int, end: int, source: NodeId, target: NodeId
) -> AppendEntries:
    term, prev_index, prev_term, commit = _APPEND_FIELDS.unpack_from(body, start)
    entries, read = decode_entries(body, start + _APPEND_FIELDS.size)
    _need(read == end)
    return AppendEntries(
        source=source,
        target=target,
        term=term,
        prev_index=prev_index,
        prev_term=prev_term,
        entries=entries,
        commit=commit,
    )


def _encode_proposal(message: ForwardProposal) -> bytes:
    return item(_FORWARD_PROPOSAL, _TERM.pack(message.term) + encode_entries(message.entries))


def _decode_proposal(
    body: bytes, start: int, end: int, source: NodeId, target: NodeId
) -> ForwardProposal:
    (term,) = _TERM.unpack_from(body, start)
    entries, read = decode_entries(body, start + _TERM.size)
    _need(read == end)
    return ForwardProposal(source=source, target=target, term=term, entries=entries)


def _encode_install(message: InstallSnapshot) -> bytes:
    return item(_INSTALL, _TERM.pack(message.term) + encode_snapshot(message.snapshot))


def _decode_install(
    body: bytes, start: int, end: int, source: NodeId, target: NodeId
) -> InstallSnapshot:
    (term,) = _TERM.unpack_from(body, start)
    snapshot, read = decode_snapshot(body, start + _TERM.size)
    _need(read == end)
    return InstallSnapshot(source=source, target=target, term=term, snapshot=snapshot)


Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes, int, int, NodeId, NodeId], Message]


def _plain(
    message: type[Any], kind: int, form: str, fields: tuple[str, ...]
) -> tuple[Encoder, Decoder]:
    layout, whole = Struct(form), Struct("<IB" + form[1:])
    size, values = layout.size, attrgetter(*fields)

    def encode(one: Any) -> bytes:
        found = values(one)
        return whole.pack(size, kind, *(found if len(fields) > 1 else (found,)))

    def decode(body: bytes, start: int, end: int, source: NodeId, target: NodeId) -> Message:
        _need(size == end - start)
        found = dict(zip(fields, layout.unpack_from(body, start), strict=True))
        result: Message = message(source=source, target=target, **found)
        return result

    return encode, decode


def _with_context(
    message: type[Any], kind: int, form: str, fields: tuple[str, ...]
) -> tuple[Encoder, Decoder]:
    layout, size = Struct(form), Struct(form).size

    def encode(one: Any) -> bytes:
        numbers = layout.pack(*(getattr(one, name) for name in fields))
        context: bytes = one.context
        return ITEM.pack(size + len(context), kind) + numbers + context

    def decode(body: bytes, start: int, end: int, source: NodeId, target: NodeId) -> Message:
        _need(size <= end - start)
        found = dict(zip(fields, layout.unpack_from(body, start), strict=True))
        context = body[start + size : end]
        result: Message = message(source=source, target=target, context=context, **found)
        return result

    return encode, decode


def _need(holds: bool) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise BadFrame("a message's length does not fit its content")


def _tables() -> tuple[dict[type[Any], Encoder], dict[int, Decoder]]:
    encoders: dict[type[Any], Encoder] = {
        AppendEntries: _encode_append,
        ForwardProposal: _encode_proposal,
        InstallSnapshot: _encode_install,
    }
    decoders: dict[int, Decoder] = {
        _APPEND: _decode_append,
        _FORWARD_PROPOSAL: _decode_proposal,
        _INSTALL: _decode_install,
    }
    rows: Iterable[tuple[Any, tuple[type[Any], int, str, tuple[str, ...]]]] = [
        *((_plain, row) for row in _PLAIN),
        *((_with_context, row) for row in _CONTEXT),
    ]
    for make, row in rows:
        encoders[row[0]], decoders[row[1]] = make(*row)
    return encoders, decoders


_ENCODERS, _DECODERS = _tables()

"""How two nodes prove to each other who they are, before anything else is heard.

    dialer     hello    version, channel, cluster, who I am, whom I want, a nonce, my clock
    answerer   welcome  who I am, a nonce, my clock, a proof over hello and welcome
    dialer     proof    the same, the other way round
    answerer   ready    or, at any point and from either side, a refusal with its reason

A proof is an HMAC-SHA256 with the cluster's secret, which is never sent; both nonces are in it,
and all that was said. The keys of the frames that follow come from the same. Where TLS proves
who speaks and no secret is set, proofs are empty. A refusal is not proved: believing a forged one
costs a wait, and nothing else.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from struct import error as struct_error

from moreton.consensus.core.messages import NodeId
from moreton.consensus.transport.errors import BadFrame

VERSION = 1
NONCE_BYTES = 32
INCARNATION_BYTES = 16
# Two texts of 255 bytes and the fixed fields fit well within.
HANDSHAKE_FRAME_MAX = 1024
SECRET_BYTES_MIN = 16
_MAGIC = b"moreton raft"
_TEXT_BYTES_MAX = 255
_HELLO = Struct("<12sHBBQQ16s32sQ")
_WELCOME = Struct("<BQ16s32sQ")
_REFUSAL = Struct("<BB")
_WELCOME_KIND, _PROOF_KIND, _READY_KIND, _REFUSAL_KIND = 2, 3, 4, 5


class Channel(IntEnum):
    """What a connection is for."""

    MESSAGES = 1
    SNAPSHOT = 2
    QUESTIONS = 3
    PROBE = 4  # only to see who answers
    GUEST = 5  # questions of somebody who knows the secret and is no member: an operator, say


class Reason(IntEnum):
    """Why a node does not want to talk."""

    OTHER_VERSION = 1
    OTHER_CLUSTER = 2
    NOT_THAT_NODE = 3
    WRONG_SECRET = 4
    CLAIMED_TWICE = 5
    REMOVED = 6
    CERTIFICATE = 7  # it names another node


@dataclass(frozen=True, slots=True)
class Party:
    """Who speaks: a node of a cluster, and which run of it.

    *incarnation* is random and new with every start; two at a time are two processes.
    """

    cluster: str
    node: NodeId
    incarnation: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """What a dialer says first; *address* is where it can be dialed itself."""

    party: Party
    target: NodeId
    channel: Channel
    nonce: bytes
    wall_ms: int
    address: str
    has_secret: bool


@dataclass(frozen=True, slots=True)
class Welcome:
    """What an answerer says to a hello that it likes."""

    node: NodeId
    incarnation: bytes
    nonce: bytes
    wall_ms: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not; *detail* is for people, *incarnation* says which process refuses."""

    reason: Reason
    detail: str = ""
    incarnation: bytes = b""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the frames of one connection; `None` under TLS."""

    dialer: bytes | None = None
    answerer: bytes | None = None


def encode_hello(hello: Hello) -> bytes:
    """*hello* as the body of a frame."""
    party = hello.party
    fixed = _HELLO.pack(
        _MAGIC,
        VERSION,
        hello.channel,
        hello.has_secret,
        party.node,
        hello.target,
        party.incarnation,
        hello.nonce,
        hello.wall_ms,
    )
    return fixed + _text(party.cluster) + _text(hello.address)


def decode_hello(body: bytes) -> Hello | Refusal:
    """The hello in *body*, or a refusal of its version. Raises `BadFrame`."""
    if not body.startswith(_MAGIC) or len(body) < len(_MAGIC) + 2:
        raise BadFrame("the first bytes are not those of a node")
    version = int.from_bytes(body[len(_MAGIC) : len(_MAGIC) + 2], "little")
    if version != VERSION:
        return Refusal(Reason.OTHER_VERSION, f"version {version}; we speak {VERSION}")
    try:
        _, _, channel, secret, node, target, incarnation, nonce, wall_ms = _HELLO.unpack_from(body)
        cluster, at = _read_text(body, _HELLO.size)
        address, at = _read_text(body, at)
        kind = Channel(channel)
    except (struct_error, IndexError, ValueError) as error:
        raise BadFrame(f"a hello is broken ({error})") from error
    if at != len(body) or node < 1:
        raise BadFrame("a hello is broken (it is longer than it says, or of node 0)")
    party = Party(cluster, node, incarnation)
    return Hello(party, target, kind, nonce, wall_ms, address, bool(secret))


def encode_welcome(welcome: Welcome) -> bytes:
    """*welcome* as the body of a frame; without its proof, what the proof is of."""
    fixed = (welcome.node, welcome.incarnation, welcome.nonce, welcome.wall_ms)
    return _WELCOME.pack(_WELCOME_KIND, *fixed) + welcome.proof


def encode_proof(proof: bytes) -> bytes:
    """The dialer's *proof* as the body of a frame."""
    return bytes((_PROOF_KIND,)) + proof


def encode_ready() -> bytes:
    """The last word of a handshake."""
    return bytes((_READY_KIND,))


def encode_refusal(refusal: Refusal) -> bytes:
    """*refusal* as the body of a frame."""
    detail = refusal.detail.encode()[:_TEXT_BYTES_MAX]
    head = _REFUSAL.pack(_REFUSAL_KIND, refusal.reason)
    return head + refusal.incarnation.ljust(INCARNATION_BYTES, b"\0") + detail


def decode_reply(body: bytes) -> Welcome | Refusal | bytes | None:
    """A welcome, a refusal, a proof, or `None` for ready. Raises `BadFrame`."""
    kind = body[0] if body else 0
    if kind == _WELCOME_KIND and len(body) >= _WELCOME.size:
        _, node, incarnation, nonce, wall_ms = _WELCOME.unpack_from(body)
        return Welcome(node, incarnation, nonce, wall_ms, body[_WELCOME.size :])
    if kind == _REFUSAL_KIND and len(body) >= _REFUSAL.size + INCARNATION_BYTES:
        return _decode_refusal(body)
    if kind == _PROOF_KIND:
        return body[1:]
    if body == encode_ready():
        return None
    raise BadFrame("an answer to a hello is broken")


def prove(secret: bytes | None, role: str, transcript: bytes) -> bytes:
    """What shows that *role* (`dialer`, `answerer`) knows *secret*, here and now."""
    if secret is None:
        return b""
    return hmac.digest(secret, f"moreton raft {role}".encode() + transcript, "sha256")


def derive_keys(secret: bytes | None, transcript: bytes) -> Keys:
    """The keys of what follows *transcript*."""
    if secret is None:
        return Keys()
    master = hmac.digest(secret, b"moreton raft keys" + transcript, "sha256")
    dialer, answerer = (
        blake2b(role, key=master, digest_size=32).digest() for role in (b"dialer", b"answerer")
    )
    return Keys(dialer, answerer)


def is_proof(expected: bytes, found: bytes) -> bool:
    """Whether they are the same; how long it takes tells nothing."""
    return hmac.compare_digest(expected, found)


def printable(text: str) -> str:
    """*text* of somebody who has proved nothing, so that a log or a terminal only shows it."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _decode_refusal(body: bytes) -> Refusal:
    try:
        reason = Reason(body[1])
        detail = body[_REFUSAL.size + INCARNATION_BYTES :].decode(errors="replace")
    except ValueError as error:
        raise BadFrame(f"a refusal is broken ({error})") from error
    return Refusal(
        reason, printable(detail), body[_REFUSAL.size : _REFUSAL.size + INCARNATION_BYTES]
    )


def _text(text: str) -> bytes:
    encoded = text.encode()
    assert len(encoded) <= _TEXT_BYTES_MAX, "checked where it came in"
    return bytes((len(encoded),)) + encoded


def _read_text(body: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + body[at]
    return body[at + 1 : end].decode(), end

"""Connects to another node and makes sure that it is the one that was meant."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace

from moreton.consensus.core.messages import NodeId
from moreton.consensus.errors import ConsensusError
from moreton.consensus.transport.connection import Closed, Connection, OnItem
from moreton.consensus.transport.core.handshake import (
    Channel,
    Keys,
    Reason,
    Refusal,
    Welcome,
    decode_reply,
    derive_keys,
    encode_hello,
    encode_proof,
    encode_refusal,
    encode_welcome,
    is_proof,
    prove,
)
from moreton.consensus.transport.core.sealing import Opener, Sealer
from moreton.consensus.transport.errors import (
    AddressOfAnother,
    BadFrame,
    NodeClaimedTwice,
    NodeRemoved,
    OtherCluster,
    OtherVersion,
    PeerUnreachable,
    TlsRefused,
    WrongSecret,
)
from moreton.consensus.transport.meeting.identity import Identity
from moreton.consensus.transport.settings import split_address

# Whichever node it is: what a guest asks for.
ANYBODY: NodeId = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A node and where it should be."""

    node: NodeId
    address: str


async def dial(identity: Identity, place: Place, channel: Channel, on_item: OnItem) -> Connection:
    """A connection to the node at *place*, both having proved themselves.

    Raises a `ConsensusError` that says what stands in the way. It takes no longer than connecting
    and a handshake may.
    """
    settings = identity.settings
    connection = await _connect(identity, place)
    try:
        async with asyncio.timeout(settings.handshake_timeout.total_seconds()):
            keys = await _shake_hands(identity, place, channel, connection)
    except BadFrame as error:
        connection.abort(str(error))
        raise OtherVersion(
            target=place.node, address=place.address, detail="it answers something else"
        ) from error
    except TimeoutError as error:
        connection.abort("no answer to the handshake")
        raise _unreachable(place, "it accepts connections and does not answer") from error
    except Closed as error:
        raise _hung_up(identity, place, str(error)) from error
    except BaseException:
        connection.abort("the handshake failed")
        raise
    connection.begin(Opener(keys.answerer), Sealer(keys.dialer), on_item, pings=True)
    return connection


async def _connect(identity: Identity, place: Place) -> Connection:
    settings, tls = identity.settings, identity.dialing_tls
    try:
        host, port = split_address(place.address)
    except ValueError as error:
        raise _unreachable(place, "that is not host:port") from error
    loop = asyncio.get_running_loop()
    seconds = settings.connect_timeout.total_seconds()
    if tls is not None:
        seconds += settings.handshake_timeout.total_seconds()
    try:
        async with asyncio.timeout(seconds):
            _, connection = await loop.create_connection(
                lambda: Connection(settings), host, port, ssl=tls
            )
    except TimeoutError as error:
        raise _unreachable(place, f"no connection within {seconds:g} s") from error
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise TlsRefused(target=place.node, address=place.address, reason=reason) from error
    except (OSError, ValueError) as error:
        raise _unreachable(place, _said(error)) from error
    return connection


async def _shake_hands(
    identity: Identity, place: Place, channel: Channel, connection: Connection
) -> Keys:
    hello = identity.hello(place.node, channel)
    said = encode_hello(hello)
    connection.say(said)
    welcome = decode_reply(await connection.next_frame())
    if isinstance(welcome, Refusal):
        raise _refused(identity, place, welcome)
    if not isinstance(welcome, Welcome):
        raise BadFrame("an answer to a hello is no welcome")
    transcript = said + encode_welcome(replace(welcome, proof=b""))
    _check_welcome(identity, place, connection, welcome, transcript)
    connection.say(encode_proof(prove(identity.secret, "dialer", transcript)))
    ready = decode_reply(await connection.next_frame())
    if isinstance(ready, Refusal):
        raise _refused(identity, place, ready)
    if ready is not None:
        raise BadFrame("an answer to a proof is neither yes nor no")
    identity.compare_clocks(place.node, welcome.wall_ms)
    return Keys() if identity.has_tls else derive_keys(identity.secret, transcript)


def _check_welcome(
    identity: Identity, place: Place, connection: Connection, welcome: Welcome, transcript: bytes
) -> None:
    if not is_proof(prove(identity.secret, "answerer", transcript), welcome.proof):
        # Told, so that its log says it too: whoever looks may look there.
        connection.say(encode_refusal(Refusal(Reason.WRONG_SECRET)))
        connection.close()
        raise WrongSecret(target=place.node, address=place.address)
    if place.node == ANYBODY:
        return  # whoever it is, it knows the secret
    named = identity.misnamed(place.node, connection.told("peercert"))
    if named or welcome.node != place.node:
        connection.say(encode_refusal(Refusal(Reason.CERTIFICATE, named)))
        connection.close()
        found = f"one with a certificate of {named}" if named else f"node {welcome.node}"
        raise AddressOfAnother(target=place.node, address=place.address, found=found)


def _refused(identity: Identity, place: Place, refusal: Refusal) -> ConsensusError:
    target, address, detail = place.node, place.address, refusal.detail
    itself = refusal.incarnation == identity.party.incarnation
    causes: Mapping[Reason, ConsensusError] = {
        Reason.OTHER_VERSION: OtherVersion(
            target=target, address=address, detail=f"it says: {detail}"
        ),
        Reason.OTHER_CLUSTER: OtherCluster(target=target, address=address, detail=detail),
        Reason.NOT_THAT_NODE: AddressOfAnother(
            target=target, address=address, found="this node itself" if itself else detail
        ),
        Reason.WRONG_SECRET: WrongSecret(target=target, address=address),
        Reason.CLAIMED_TWICE: NodeClaimedTwice(
            node=identity.party.node, address=address, detail=detail
        ),
        Reason.REMOVED: NodeRemoved(target=target),
        Reason.CERTIFICATE: TlsRefused(
            target=target, address=address, reason=f"our certificate names {detail}"
        ),
    }
    return causes[refusal.reason]


def _hung_up(identity: Identity, place: Place, reason: str) -> ConsensusError:
    # TLS 1.3 tells a client that its certificate was refused only after it has connected.
    if identity.has_tls and ("alert" in reason.lower() or "certificate" in reason.lower()):
        return TlsRefused(target=place.node, address=place.address, reason=reason)
    hint = "" if identity.has_tls else " (does it expect TLS?)"
    return _unreachable(place, f"it hung up during the handshake{hint}: {reason}")


def _unreachable(place: Place, reason: str) -> PeerUnreachable:
    return PeerUnreachable(target=place.node, address=place.address, reason=reason)


def _said(error: OSError | ValueError) -> str:
    number = getattr(error, "errno", None)
    # What asyncio says repeats the address; a name that is not found has a number of its own kind.
    return os.strerror(number).lower() if number is not None and number > 0 else str(error)

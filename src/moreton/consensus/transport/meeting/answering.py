"""Listens, and makes sure who it is that connects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from moreton.consensus.core.messages import NodeId
from moreton.consensus.transport.connection import Closed, Connection, OnItem
from moreton.consensus.transport.core.handshake import (
    Channel,
    Hello,
    Keys,
    Reason,
    Refusal,
    decode_hello,
    decode_reply,
    derive_keys,
    encode_ready,
    encode_refusal,
    encode_welcome,
    is_proof,
    printable,
    prove,
)
from moreton.consensus.transport.core.sealing import Opener, Sealer
from moreton.consensus.transport.errors import (
    BadFrame,
    CannotListen,
    NodeClaimedTwice,
    OtherCluster,
    WrongSecret,
)
from moreton.consensus.transport.meeting.identity import Identity
from moreton.consensus.transport.settings import split_address


class Claim(NamedTuple):
    """A living connection of a node, and which run of it that is."""

    incarnation: bytes
    connection: Connection


class Accept(Protocol):
    """Takes over a connection that has proved itself."""

    def __call__(self, hello: Hello, connection: Connection) -> OnItem:
        """What shall get its items."""
        ...


class Answerer:
    """The listening half of a transport."""

    def __init__(
        self, identity: Identity, *, is_removed: Callable[[NodeId], bool], accept: Accept
    ) -> None:
        self._identity = identity
        self._is_removed = is_removed
        self._accept = accept
        self._server: asyncio.Server | None = None
        self._greetings: dict[Connection, asyncio.Task[None]] = {}
        self._claims: dict[NodeId, list[Claim]] = {}
        self._guests: set[Connection] = set()
        self._closed = False
        self.refused = 0

    async def listen(self, address: str) -> str:
        """Accept connections at *address*; where that is, when its port is 0.

        Raises `CannotListen`.
        """
        identity = self._identity
        try:
            host, port = split_address(address)
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(identity.settings, self._greet),
                host,
                port,
                ssl=identity.answering_tls,
                ssl_handshake_timeout=(
                    identity.settings.handshake_timeout.total_seconds()
                    if identity.has_tls
                    else None
                ),
            )
        except (OSError, ValueError) as error:
            raise CannotListen(address=address, reason=str(error)) from error
        port = self._server.sockets[0].getsockname()[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def cut_off(self, node: NodeId) -> None:
        """Hang up on *node*."""
        for claim in self._claims.pop(node, ()):
            claim.connection.abort("the node was removed")

    def connections(self) -> list[Connection]:
        """Every one that has proved itself."""
        members = [claim.connection for claims in self._claims.values() for claim in claims]
        return [*members, *self._guests]

    async def close(self) -> None:
        """Listen no more; send what is posted, for a moment, and hang up."""
        self._closed = True
        if self._server is not None:
            await _stop_accepting(self._server)
        greetings = list(self._greetings.items())
        for connection, task in greetings:
            task.cancel()
            connection.abort("closing")
        await asyncio.gather(*(task for _, task in greetings), return_exceptions=True)
        seconds = self._identity.settings.ping_interval.total_seconds()
        await asyncio.gather(*(each.finish(seconds) for each in self.connections()))
        if self._server is not None:
            await self._server.wait_closed()

    def _greet(self, connection: Connection) -> None:
        greetings = self._greetings
        if self._closed:
            connection.abort("closing")
            return
        if len(greetings) >= self._identity.settings.greeting_max:
            # An honest handshake takes milliseconds: whoever has waited longest is not in one.
            oldest = next(iter(greetings))
            greetings.pop(oldest).cancel()
            oldest.abort("too many wait")
            self.refused += 1
        greetings[connection] = asyncio.create_task(self._answer(connection))

    async def _answer(self, connection: Connection) -> None:
        seconds = self._identity.settings.handshake_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                hello, keys = await self._shake_hands(connection)
            await self._settle(connection, hello, keys)
        except _Refused as refused:
            connection.say(encode_refusal(refused.refusal))
            connection.close()
            self.refused += 1
        except (BadFrame, Closed, TimeoutError) as error:
            connection.abort(str(error) or "the handshake took too long")
            self.refused += 1
        finally:
            self._greetings.pop(connection, None)

    async def _shake_hands(self, connection: Connection) -> tuple[Hello, Keys]:
        identity = self._identity
        said = await connection.next_frame()
        hello = self._checked(decode_hello(said), connection)
        welcome = identity.welcome()
        transcript = said + encode_welcome(welcome)
        connection.say(encode_welcome(welcome) + prove(identity.secret, "answerer", transcript))
        proof = decode_reply(await connection.next_frame())
        if isinstance(proof, Refusal):
            if proof.reason is Reason.WRONG_SECRET:
                self._report_secret(hello, connection)
            raise Closed(f"the dialer refused: {proof.reason.name}")
        if not isinstance(proof, bytes):
            raise BadFrame("an answer to a welcome is no proof")
        if not is_proof(prove(identity.secret, "dialer", transcript), proof):
            self._report_secret(hello, connection)
            raise _Refused(Reason.WRONG_SECRET)
        identity.compare_clocks(hello.party.node, hello.wall_ms)
        return hello, Keys() if identity.has_tls else derive_keys(identity.secret, transcript)

    def _checked(self, hello: Hello | Refusal, connection: Connection) -> Hello:
        if isinstance(hello, Refusal):
            raise _Refused(hello.reason, hello.detail)
        me, node, seen = self._identity.party, hello.party.node, _seen(connection)
        if hello.channel is Channel.GUEST:
            return self._checked_guest(hello, connection)
        if hello.party.cluster != me.cluster:
            detail = f'it calls itself "{me.cluster}", and we "{hello.party.cluster}"'
            theirs = printable(hello.party.cluster)
            ours = f'it calls itself "{theirs}", and we "{me.cluster}"'
            self._identity.report(node, OtherCluster(target=node, address=seen, detail=ours))
            raise _Refused(Reason.OTHER_CLUSTER, detail)
        if hello.target != me.node:
            raise _Refused(Reason.NOT_THAT_NODE, f"node {me.node}", me.incarnation)
        if hello.has_secret != (self._identity.secret is not None):
            self._report_secret(hello, connection)
            raise _Refused(Reason.WRONG_SECRET)
        named = self._identity.misnamed(node, connection.told("peercert"))
        if named:
            raise _Refused(Reason.CERTIFICATE, named)
        return hello

    def _checked_guest(self, hello: Hello, connection: Connection) -> Hello:
        # Whom it wants, and of which cluster, is what it may come to ask; the secret says enough.
        if self._identity.secret is None or not hello.has_secret:
            self._report_secret(hello, connection)
            raise _Refused(Reason.WRONG_SECRET)
        return hello

    async def _settle(self, connection: Connection, hello: Hello, keys: Keys) -> None:
        """Take *connection* over, unless an older living process is that node."""
        node, incarnation = hello.party.node, hello.party.incarnation
        if hello.channel is Channel.GUEST:
            self._guests = {one for one in self._guests if not one.is_closed} | {connection}
            self._begin(connection, hello, keys)
            return
        if node == self._identity.party.node and incarnation != self._identity.party.incarnation:
            self._refuse_claim(hello, connection, "it is the node that was dialed")
        while other := self._other(node, incarnation):
            if await other.connection.is_alive():
                self._refuse_claim(hello, connection, f"one is at {_seen(other.connection)}")
            other.connection.abort("another run of the node has come, and this one is silent")
            await other.connection.wait_closed()
        if connection.is_closed:
            raise Closed(connection.reason)
        if self._is_removed(node):
            raise _Refused(Reason.REMOVED)
        if hello.channel is not Channel.PROBE:
            claims = [one for one in self._claims.get(node, ()) if not one.connection.is_closed]
            self._claims[node] = [*claims, Claim(incarnation, connection)]
        self._begin(connection, hello, keys)

    def _begin(self, connection: Connection, hello: Hello, keys: Keys) -> None:
        connection.say(encode_ready())
        on_item = self._accept(hello, connection)
        connection.begin(Opener(keys.dialer), Sealer(keys.answerer), on_item, pings=False)

    def _other(self, node: NodeId, incarnation: bytes) -> Claim | None:
        for claim in self._claims.get(node, ()):
            if claim.incarnation != incarnation and not claim.connection.is_closed:
                return claim
        return None

    def _refuse_claim(self, hello: Hello, connection: Connection, detail: str) -> None:
        node, seen = hello.party.node, _seen(connection)
        self._identity.report(node, NodeClaimedTwice(node=node, address=seen, detail=detail))
        raise _Refused(Reason.CLAIMED_TWICE, detail)

    def _report_secret(self, hello: Hello, connection: Connection) -> None:
        node = hello.party.node
        self._identity.report(node, WrongSecret(target=node, address=_seen(connection)))


async def _stop_accepting(server: asyncio.Server) -> None:
    # A connection that asyncio accepted in the same turn of the loop would be left open for ever
    # (its transport asserts that the server is not closed): look away first, then let it come.
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)
    server.close()


class _Refused(Exception):
    def __init__(self, reason: Reason, detail: str = "", incarnation: bytes = b"") -> None:
        self.refusal = Refusal(reason, detail, incarnation)


def _seen(connection: Connection) -> str:
    peer = connection.told("peername")
    return f"{peer[0]}:{peer[1]}" if peer else "an unknown address"

"""The responder on UDP and TCP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from moreton.registry.dns.responder import Forward, Responder

# A client that says nothing for so long has gone (RFC 7766, section 6.2.3: a few seconds).
_IDLE_SECONDS = 10.0
_CONNECTIONS_MAX = 256
_FORWARDS_MAX = 256
_FORWARD_SECONDS = 2.0
_QUERY_BYTES_MAX = 4096
_BACKLOG = 128
_RECEIVE_BYTES = 4 * 1024 * 1024  # as much of it as the system gives
_ANY_PORT_TRIES = 16


class DnsServer:
    """Answers on both sockets of `dns_sockets`.

    *recursors*, host and port, are asked in their order for what is not its own; without any, such
    queries are refused.
    """

    def __init__(self, responder: Responder, *, recursors: Sequence[tuple[str, int]] = ()) -> None:
        self.responder = responder
        self._recursors = tuple(recursors)
        if recursors:
            # Brings HTTP/2 along, 5 MiB, which a server that forwards nothing need not hold.
            from dns.asyncquery import udp_with_fallback  # noqa: PLC0415 - as above

            self._ask = udp_with_fallback
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._forwards: set[asyncio.Task[None]] = set()

    async def start(self, datagrams: socket.socket, listening: socket.socket) -> None:
        """Answer from now on."""
        loop = asyncio.get_running_loop()
        self._datagrams, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), sock=datagrams
        )
        self._server = await asyncio.start_server(self._serve, sock=listening)

    async def stop(self) -> None:
        """Answer no more, and let go of the sockets."""
        if self._datagrams is not None:
            self._datagrams.close()
        for task in list(self._forwards):
            task.cancel()
        if self._server is not None:
            self._server.close()
            for writer in list(self._connections):
                _hang_up(writer)
            await self._server.wait_closed()

    def receive(self, wire: bytes, sender: tuple[str | int, ...]) -> None:
        """A datagram came from *sender*."""
        assert self._datagrams is not None, "a datagram comes after the start"
        found = self.responder.respond(wire, over_tcp=False)
        if isinstance(found, bytes):
            self._datagrams.sendto(found, sender)
        elif found is not None:
            if not self._recursors or len(self._forwards) >= _FORWARDS_MAX:
                self._datagrams.sendto(found.refusal, sender)
                return
            task = asyncio.create_task(self._pass_on(found, sender), name="dns forward")
            self._forwards.add(task)
            task.add_done_callback(self._forwards.discard)

    async def _pass_on(self, forward: Forward, sender: tuple[str | int, ...]) -> None:
        answer = await self._forwarded(forward)
        assert self._datagrams is not None, "a datagram comes after the start"
        size = max(forward.query.payload, 512) if forward.query.edns >= 0 else 512
        if len(answer) > size:
            cut = dns.message.make_response(forward.query)
            cut.flags |= dns.flags.TC
            answer = cut.to_wire()
        self._datagrams.sendto(answer, sender)

    async def _forwarded(self, forward: Forward) -> bytes:
        for host, port in self._recursors:
            with contextlib.suppress(dns.exception.DNSException, OSError):
                found, _ = await self._ask(forward.query, host, timeout=_FORWARD_SECONDS, port=port)
                return bytes(found.to_wire())
        failed = dns.message.make_response(forward.query)
        failed.set_rcode(dns.rcode.SERVFAIL)
        return bytes(failed.to_wire())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _CONNECTIONS_MAX:
            writer.close()
            return
        self._connections.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                while await self._serve_one(reader, writer):
                    pass
        finally:
            self._connections.discard(writer)
            _hang_up(writer)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async with asyncio.timeout(_IDLE_SECONDS):
            size = int.from_bytes(await reader.readexactly(2), "big")
            if size > _QUERY_BYTES_MAX:
                return False
            wire = await reader.readexactly(size)
        found = self.responder.respond(wire, over_tcp=True)
        if found is None:
            return False
        if isinstance(found, Forward):
            found = await self._forwarded(found) if self._recursors else found.refusal
        writer.write(len(found).to_bytes(2, "big") + found)
        async with asyncio.timeout(_IDLE_SECONDS):
            await writer.drain()
        return True


def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close the connection, also to a client that does not take its answers."""
    if writer.transport.get_write_buffer_size():
        # To close would be to wait for that client, without end.
        writer.transport.abort()
    else:
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self._server.receive(data, addr)


def dns_sockets(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket bound to *host*:*port*; port 0 finds one that both can have.

    Raises `OSError`.
    """
    for attempt in range(_ANY_PORT_TRIES):
        try:
            return _both(host, port)
        except OSError:
            # The port that one of them found may be taken for the other.
            if port != 0 or attempt == _ANY_PORT_TRIES - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    family, _, _, _, where = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with contextlib.ExitStack() as undo:
        listening = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        datagrams = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        with contextlib.suppress(OSError):  # what came while this process did other things
            datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        datagrams.bind((where[0], listening.getsockname()[1], *where[2:]))
        listening.listen(_BACKLOG)
        for one in (listening, datagrams):
            one.setblocking(False)
        undo.pop_all()
    return datagrams, listening

"""The server's connections, to clients that ask and do not listen."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.trsock import TransportSocket
from collections.abc import AsyncIterator
from typing import cast

import pytest

from moreton.registry.dns import DnsServer, dns_sockets, server
from unit.registry.dns.asking import instance, query, responder, view

MANY = [instance(f"i{n}", f"10.0.{n // 250}.{n % 250 + 1}") for n in range(1000)]
# Whose answers all buffers on the way do not hold.
QUERIES = 2000


@contextlib.asynccontextmanager
async def asked_by_who_takes_no_answer() -> AsyncIterator[DnsServer]:
    serving = DnsServer(responder(view(MANY)))
    datagrams, listening = dns_sockets("127.0.0.1", 0)
    await serving.start(datagrams, listening)
    wire = query("orders.service.moreton.").to_wire()
    with socket.create_connection(listening.getsockname()) as client:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.send((len(wire).to_bytes(2, "big") + wire) * QUERIES)
        try:
            yield serving
        finally:
            await serving.stop()


async def socket_whose_answers_wait(serving: DnsServer) -> TransportSocket:
    """The server's end of the connection, once no more of its answers are taken."""
    while True:
        for writer in serving._connections:
            if writer.transport.get_write_buffer_size():
                return cast("TransportSocket", writer.get_extra_info("socket"))
        await asyncio.sleep(0)


async def wait_closed(one: TransportSocket) -> None:
    async with asyncio.timeout(10):
        while one.fileno() >= 0:
            await asyncio.sleep(0)


async def test_client_that_takes_no_answers_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_IDLE_SECONDS", 0.1)
    async with asked_by_who_takes_no_answer() as serving:
        await wait_closed(await socket_whose_answers_wait(serving))


async def test_server_stops_while_a_client_takes_no_answers() -> None:
    async with asked_by_who_takes_no_answer() as serving:
        own_end = await socket_whose_answers_wait(serving)
        async with asyncio.timeout(10):
            await serving.stop()
        await wait_closed(own_end)

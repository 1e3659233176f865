"""Whoever connects without being a node holds nothing up, whatever it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moreton.consensus.transport.core.encoding import encode_message
from moreton.consensus.transport.core.framing import frame, item
from moreton.consensus.transport.core.handshake import (
    Channel,
    Hello,
    Party,
    encode_hello,
    encode_proof,
)
from moreton.consensus.transport.core.sealing import Sealer
from moreton.consensus.transport.link import ignore_item
from moreton.consensus.transport.meeting.dialing import Place, dial
from moreton.consensus.transport.meeting.identity import Identity
from moreton.kernel.time import SystemClock
from support.raft_peers import CREDENTIALS, SETTINGS, Peer, ignore_trouble, running, within

pytestmark = pytest.mark.slow

HELLO = Hello(Party("forest", 2, bytes(16)), 1, Channel.MESSAGES, bytes(32), 0, "", has_secret=True)
HASTY = replace(SETTINGS, handshake_timeout=timedelta(milliseconds=100))


async def connect(peer: Peer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = peer.address.split(":")
    return await asyncio.open_connection(host, int(port))


async def everything(reader: asyncio.StreamReader) -> bytes:
    try:
        return await within(reader.read())
    except ConnectionError:
        return b""


async def still_works(one: Peer) -> None:
    two = Peer(2)
    async with running(two):
        two.transport.set_peers({1: one.address, 2: two.address})
        two.transport.send_nowait(two.heartbeat(1, 1))
        assert await one.next_message() == two.heartbeat(1, 1)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="http"),
        pytest.param(bytes(1000), id="zeros"),
        pytest.param(b"\xff" * 1000, id="a frame of 4 GiB"),
        pytest.param(frame(b"moreton raft"), id="half a hello"),
        pytest.param(frame(encode_hello(HELLO)) + frame(b""), id="no proof"),
        pytest.param(frame(encode_hello(HELLO)) + frame(encode_proof(b"guess")), id="a guess"),
        pytest.param(frame(encode_hello(HELLO)) + frame(encode_proof(b"")), id="empty proof"),
        pytest.param(
            frame(encode_hello(replace(HELLO, has_secret=False))) + frame(encode_proof(b"")),
            id="a hello without a secret",
        ),
        pytest.param(frame(encode_hello(HELLO)) * 20, id="many hellos"),
    ],
)
async def test_garbage_is_hung_up_on(sent: bytes) -> None:
    async with running(Peer(1, settings=HASTY)) as (one,):
        reader, writer = await connect(one)
        writer.write(sent)
        await everything(reader)
        writer.close()
        assert one.transport.statistics().refused == 1
        assert one.messages.empty()
        await still_works(one)


async def test_a_slow_hello_is_cut_off_in_time() -> None:
    async with running(Peer(1, settings=HASTY)) as (one,):
        reader, writer = await connect(one)
        writer.write(frame(encode_hello(HELLO))[:20])
        assert await everything(reader) == b""
        writer.close()
        assert one.transport.statistics().refused == 1


async def test_many_that_say_nothing_do_not_keep_out_a_node() -> None:
    few = replace(SETTINGS, greeting_max=5)
    async with running(Peer(1, settings=few)) as (one,):
        silent = [await connect(one) for _ in range(20)]
        await still_works(one)
        assert one.transport.statistics().refused >= 15
        for _, writer in silent:
            writer.close()


def member(node: int = 2) -> Identity:
    return Identity(
        node, CREDENTIALS, settings=SETTINGS, clock=SystemClock(), report=ignore_trouble
    )


@pytest.mark.parametrize("channel", [Channel.MESSAGES, Channel.QUESTIONS, Channel.SNAPSHOT])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(min_size=1, max_size=100))
def test_a_member_that_sends_rubbish_is_hung_up_on_or_ignored(
    channel: Channel, body: bytes
) -> None:
    async def scene() -> None:
        async with running(Peer(1)) as (one,):
            connection = await dial(member(), Place(1, one.address), channel, ignore_item)
            connection.post(body)
            connection.post(item(250, b"unknown kind"))
            await within(connection.wait_closed())
            assert one.messages.empty()

    asyncio.run(scene())


async def seal_wrongly(one: Peer, spoil: Callable[[bytes], bytes]) -> None:
    connection = await dial(member(), Place(1, one.address), Channel.MESSAGES, ignore_item)
    message = encode_message(replace(one.heartbeat(1, 5), source=2))
    connection.post(message)
    assert await one.next_message() == replace(one.heartbeat(1, 5), source=2)
    assert connection._transport is not None
    sealer = connection._sealer
    connection._transport.write(spoil(sealer.seal([message])))
    await within(connection.wait_closed())
    assert one.messages.empty()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda sealed: sealed[:-1] + bytes((sealed[-1] ^ 1,)), id="changed"),
        pytest.param(lambda sealed: frame(sealed[20:]), id="without its seal"),
        pytest.param(lambda sealed: Sealer(b"k" * 32).seal([sealed[20:]]), id="forged"),
        pytest.param(lambda _: frame(b""), id="empty"),
    ],
)
async def test_a_frame_that_was_tampered_with_is_not_heard(spoil: Callable[[bytes], bytes]) -> None:
    async with running(Peer(1)) as (one,):
        await seal_wrongly(one, spoil)


async def test_a_frame_that_is_repeated_is_heard_once() -> None:
    """As somebody on the way may do, who knows no secret and has the bytes."""
    async with running(Peer(1)) as (one,):
        connection = await dial(member(), Place(1, one.address), Channel.MESSAGES, ignore_item)
        assert connection._transport is not None
        message = replace(one.heartbeat(1, 5), source=2)
        sealed = connection._sealer.seal([encode_message(message)])
        connection._transport.write(sealed + sealed)
        await within(connection.wait_closed())
        assert await one.next_message() == message
        assert one.messages.empty()


async def test_a_whole_conversation_that_is_repeated_is_refused() -> None:
    async with running(Peer(1)) as (one,):
        recorded: list[bytes] = []

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back_reader, back_writer = await connect(one)

            async def back() -> None:
                while data := await back_reader.read(65536):
                    writer.write(data)
                writer.close()

            returning = asyncio.create_task(back())
            while data := await reader.read(65536):
                recorded.append(data)
                back_writer.write(data)
            back_writer.close()
            await returning

        proxy = await asyncio.start_server(pass_on, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        connection = await dial(
            member(), Place(1, f"127.0.0.1:{port}"), Channel.MESSAGES, ignore_item
        )
        message = replace(one.heartbeat(1, 5), source=2)
        connection.post(encode_message(message))
        assert await one.next_message() == message
        connection.close()
        await within(connection.wait_closed())
        proxy.close()

        reader, writer = await connect(one)
        writer.write(b"".join(recorded))
        await everything(reader)
        writer.close()
        assert one.transport.statistics().refused == 1
        assert one.messages.empty()


async def test_a_member_that_asks_and_does_not_read_is_hung_up_on() -> None:
    small = replace(
        SETTINGS, queue_bytes_max=100_000, message_bytes_max=100_000, questions_max=100_000
    )
    async with running(Peer(1, settings=small)) as (one,):

        async def answer(_: int, _question: bytes) -> bytes:
            return bytes(100_000)

        one.answer = answer
        connection = await dial(member(), Place(1, one.address), Channel.QUESTIONS, ignore_item)
        assert connection._transport is not None
        connection._transport.pause_reading()
        while any(not each.is_closed for each in one.transport._answerer.connections()):
            connection.post(item(64, bytes(8)))
            await asyncio.sleep(0)
        connection.abort("the test is over")
        await within(connection.wait_closed())

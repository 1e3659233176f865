"""A broker that cannot be reached: it is said at once, waited for, and does not keep a relay."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import nats
import pytest
from nats.aio.msg import Msg

from moreton.transactions.outbox import Outbox, Relay
from moreton.transactions.outbox.brokers.nats import NatsBroker
from moreton.transactions.outbox.errors import BrokerUnavailable
from support.nats_server import running_nats
from support.ports import free_port

DAY = timedelta(days=1)
SOON = timedelta(milliseconds=50)


async def test_nats_that_is_not_there_is_an_error_with_its_reason() -> None:
    broker = NatsBroker(f"nats://127.0.0.1:{free_port()}", retain=DAY, connect_max=SOON)
    with pytest.raises(BrokerUnavailable, match=r"(?i)connect"):
        async with asyncio.timeout(30):
            await broker.extent("orders")
    await broker.close()


async def test_relay_stops_when_told_though_nats_was_never_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = NatsBroker(f"nats://127.0.0.1:{free_port()}", retain=DAY, connect_max=SOON)
    relay = Relay(Outbox("orders"), database=f"sqlite:///{tmp_path / 'a.db'}", broker=broker)
    async with asyncio.timeout(30):
        serving = asyncio.create_task(relay.serve())
        while not relay.statistics().failures:
            await asyncio.sleep(0.01)
        relay.stop()
        await serving
    assert "the relay of orders waits: NATS at nats://127.0.0.1" in caplog.text


async def test_message_that_nats_does_not_store_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        broker = NatsBroker(server.url, retain=DAY)
        await broker.publish("orders", b"[]", "1")
        client = await nats.connect(server.url)
        stream = client.jetstream()
        config = (await stream.stream_info("moreton-orders")).config
        config.max_msg_size = 1000
        await stream.update_stream(config)
        with pytest.raises(BrokerUnavailable, match="message size exceeds maximum"):
            await broker.publish("orders", b"x" * 1001, "2")
        await broker.publish("orders", b"[ ]", "3")
        assert (await broker.extent("orders")).last == 2
        await client.close()
        await broker.close()


async def test_answer_of_somebody_else_is_no_word_that_a_message_is_stored(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        broker = NatsBroker(server.url, retain=DAY)
        await broker.extent("orders")  # makes the stream
        client = await nats.connect(server.url)
        await client.jetstream().delete_stream("moreton-orders")
        answers = [b"ok", b"{}", b"[]", b'{"seq": 0}', b'{"seq": 7, "error": {}}']
        left = iter(answers)

        async def answer(message: Msg) -> None:
            await message.respond(next(left))

        await client.subscribe("moreton.events.orders", cb=answer)
        await client.flush()
        for n, _ in enumerate(answers):
            broker._streams.add("orders")
            with pytest.raises(BrokerUnavailable, match="not stored"):
                await broker.publish("orders", b"[]", f"{n}")
        await client.close()
        await broker.close()

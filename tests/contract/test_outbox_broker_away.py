"""A broker that cannot be reached: it is said at once, waited for, and does not keep a relay."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.transactions.outbox import Outbox, Relay
from moreton.transactions.outbox.brokers.nats import NatsBroker
from moreton.transactions.outbox.errors import BrokerUnavailable
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

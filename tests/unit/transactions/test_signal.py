"""A signal is heard once, whether it was set before or while somebody waits."""

from __future__ import annotations

import asyncio

from moreton.transactions.signal import Signal


async def test_signal_that_was_set_before_is_heard_at_once_and_once() -> None:
    signal = Signal()
    signal.set()
    signal.set()
    assert await signal.wait(3600)
    assert not await signal.wait(0)


async def test_signal_wakes_who_waits() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait(3600))
    await asyncio.sleep(0)
    signal.set()
    signal.set()
    assert await waiting
    assert not await signal.wait(0)


async def test_signal_that_was_cleared_is_not_heard() -> None:
    signal = Signal()
    signal.set()
    signal.clear()
    assert not await signal.wait(0)


async def test_who_stops_waiting_leaves_the_signal_to_the_next() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait(3600))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    signal.set()
    assert await signal.wait(3600)

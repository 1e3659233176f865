"""Snapshots between nodes: whole or not at all, and never in the way of a heartbeat."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from moreton.consensus.core.messages import Configuration, InstallSnapshot, SnapshotMeta
from moreton.consensus.transport.connection import Connection
from moreton.consensus.transport.core.encoding import encode_message
from moreton.consensus.transport.core.framing import item
from moreton.consensus.transport.core.handshake import Channel
from moreton.consensus.transport.link import ignore_item
from moreton.consensus.transport.meeting.dialing import Place, dial
from moreton.consensus.transport.meeting.identity import Identity
from moreton.consensus.transport.snapshots import _CHUNK, _SIZE
from moreton.kernel.time import SystemClock
from support.raft_peers import CREDENTIALS, SETTINGS, Peer, ignore_trouble, running, within

pytestmark = pytest.mark.slow

META = SnapshotMeta(9, 3, Configuration(voters=frozenset({1, 2})))


def begun(peer: Peer) -> list[Connection]:
    """The connections to *peer* whose handshake is over, oldest first."""
    return [one for one in peer.transport._answerer.connections() if one.is_begun]


def install(source: int = 1, target: int = 2) -> InstallSnapshot:
    return InstallSnapshot(source=source, target=target, term=3, snapshot=META)


async def test_a_snapshot_arrives_whole_with_its_message() -> None:
    small = replace(SETTINGS, chunk_bytes=1000)
    async with running(Peer(1, settings=small), Peer(2)) as (one, two):
        data = bytes(range(256)) * 1000
        one.transport.send_snapshot_nowait(install(), data)
        assert await within(two.messages.get()) == (install(), data)
        assert await within(one.snapshots.get()) == (2, True)


async def test_an_empty_snapshot_arrives() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        one.transport.send_snapshot_nowait(install(), b"")
        assert await within(two.messages.get()) == (install(), b"")
        assert await within(one.snapshots.get()) == (2, True)


async def test_heartbeats_pass_a_snapshot_on_its_way() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        await within(one.wait_connected(2))
        one.transport.send_snapshot_nowait(install(), bytes(50_000_000))
        while len(begun(two)) < 2:
            await asyncio.sleep(0)
        one.transport.send_nowait(one.heartbeat(2, 1))
        assert await two.next_message() == one.heartbeat(2, 1), "it did not wait"
        assert one.snapshots.empty(), "the snapshot was still on its way"
        message, data = await within(two.messages.get())
        assert message == install()
        assert data == bytes(50_000_000)


async def test_the_sender_holds_no_more_than_a_few_chunks() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        await within(one.wait_connected(2))
        most = 0
        one.transport.send_snapshot_nowait(install(), bytes(30_000_000))
        while two.messages.empty():
            for connection in two.transport._answerer.connections():
                most = max(most, connection.queued_bytes)
            await asyncio.sleep(0)
        assert most < 4_000_000


async def test_a_target_that_is_away_is_reported() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        await two.transport.close()
        one.transport.send_snapshot_nowait(install(), b"data")
        assert await within(one.snapshots.get()) == (2, False)


async def test_a_target_that_dies_in_the_middle_is_reported_and_gets_it_later() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        await within(one.wait_connected(2))
        one.transport.send_snapshot_nowait(install(), bytes(40_000_000))
        while len(begun(two)) < 2:
            await asyncio.sleep(0)
        address = two.address
        await two.transport.close()
        assert await within(one.snapshots.get()) == (2, False)
        assert two.messages.empty()
        again = Peer(2, listen=address)
        async with running(again):
            one.transport.send_snapshot_nowait(install(), b"data")
            assert await within(again.messages.get()) == (install(), b"data")
            assert await within(one.snapshots.get()) == (2, True)


async def test_a_newer_snapshot_takes_the_place_of_one_on_its_way() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        one.transport.send_snapshot_nowait(install(), bytes(40_000_000))
        await asyncio.sleep(0)
        newer = replace(install(), term=4)
        one.transport.send_snapshot_nowait(newer, b"newer")
        assert await within(two.messages.get()) == (newer, b"newer")
        assert await within(one.snapshots.get()) == (2, True)
        assert one.snapshots.empty()


async def test_a_snapshot_beyond_the_limit_is_not_sent() -> None:
    small = replace(SETTINGS, snapshot_bytes_max=1000)
    async with running(Peer(1, settings=small), Peer(2)) as (one, _):
        one.transport.send_snapshot_nowait(install(), bytes(1001))
        assert await within(one.snapshots.get()) == (2, False)
        assert "1001 bytes" in str(await one.next_trouble("raft-too-large-to-send"))


async def test_a_snapshot_that_does_not_move_is_given_up() -> None:
    hasty = replace(SETTINGS, stall_timeout=timedelta(milliseconds=100))
    async with running(Peer(1, settings=hasty), Peer(2)) as (one, two):
        await within(one.wait_connected(2))
        one.transport.send_snapshot_nowait(install(), bytes(100_000_000))
        while len(found := begun(two)) < 2:
            await asyncio.sleep(0)
        assert found[1]._transport is not None
        found[1]._transport.pause_reading()
        assert await within(one.snapshots.get()) == (2, False)
        assert two.messages.empty()


async def test_a_snapshot_that_was_given_up_leaves_no_connection_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hasty = replace(SETTINGS, stall_timeout=timedelta(milliseconds=100))
    never = replace(SETTINGS, ping_interval=timedelta(minutes=1))  # to hang up by itself
    async with running(Peer(1, settings=hasty), Peer(2, settings=never)) as (one, two):
        await within(one.wait_connected(2))
        dial, dialed = one.transport._dial, list[Connection]()

        async def noted(*arguments: Any) -> Connection:
            dialed.append(await dial(*arguments))
            return dialed[-1]

        monkeypatch.setattr(one.transport, "_dial", noted)
        one.transport.send_snapshot_nowait(install(), bytes(100_000_000))
        while len(found := begun(two)) < 2:
            await asyncio.sleep(0)
        assert found[1]._transport is not None
        found[1]._transport.pause_reading()
        assert await within(one.snapshots.get()) == (2, False)
        assert dialed[0].queued_bytes, "nobody takes it"
        await within(dialed[0].wait_closed())
        assert not dialed[0].queued_bytes
        found[1].abort("the test is over")


async def test_a_snapshot_of_more_than_it_says_is_cut_off() -> None:
    async with running(Peer(1)) as (one,):
        clock = SystemClock()
        two = Identity(2, CREDENTIALS, settings=SETTINGS, clock=clock, report=ignore_trouble)
        size, message = item(_SIZE, (5).to_bytes(8, "little")), encode_message(install(2, 1))
        for items in (
            [size, message, item(_CHUNK, b"123456")],
            [item(_SIZE, (2**60).to_bytes(8, "little"))],
            [item(_SIZE, b"12")],
            [item(_CHUNK, b"out of turn")],
            [message],
            [size, encode_message(one.heartbeat(1, 1))],
            [item(250, b"unknown")],
        ):
            place = Place(1, one.address)
            connection = await dial(two, place, Channel.SNAPSHOT, ignore_item)
            for each in items:
                connection.post(each)
            await within(connection.wait_closed())
        assert one.messages.empty()

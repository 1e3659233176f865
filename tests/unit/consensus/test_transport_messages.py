"""Messages between real transports on loopback."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import uvloop

from moreton.consensus.core.messages import InstallSnapshot, SnapshotMeta
from moreton.consensus.transport.errors import CannotListen
from support.raft_peers import CREDENTIALS, SETTINGS, Peer, introduce, running, within


async def test_messages_arrive_in_order_with_their_sender() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        sent = [one.heartbeat(2, number) for number in range(1000)]
        for message in sent:
            one.transport.send_nowait(message)
        assert [await two.next_message() for _ in sent] == sent


async def test_both_ways_at_once_have_connections_of_their_own() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        for number in range(100):
            one.transport.send_nowait(one.heartbeat(2, number))
            two.transport.send_nowait(two.heartbeat(1, number))
        for number in range(100):
            assert await two.next_message() == one.heartbeat(2, number)
            assert await one.next_message() == two.heartbeat(1, number)


async def test_large_entries_arrive_whole() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        message = one.append(2, bytes(range(256)) * 20_000)
        one.transport.send_nowait(message)
        assert await two.next_message() == message


async def test_messages_before_the_first_connection_wait_for_it() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        one.transport.send_nowait(one.heartbeat(2, 7))
        assert await two.next_message() == one.heartbeat(2, 7)
        assert one.losses.empty()


async def test_a_message_to_nobody_is_reported_as_lost() -> None:
    async with running(Peer(1), Peer(2)) as (one, _):
        one.transport.send_nowait(one.heartbeat(9, 1))
        assert one.losses.empty(), "told later, not in the middle of sending"
        assert await within(one.losses.get()) == 9


async def test_a_node_that_restarts_is_reached_again() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        await within(one.wait_connected(2))
        address = two.address
        await two.transport.close()
        assert await within(one.losses.get()) == 2
        again = Peer(2, listen=address)
        async with running(again):
            again.transport.set_peers({1: one.address, 2: again.address})
            await within(one.wait_connected(2))
            one.transport.send_nowait(one.heartbeat(2, 8))
            assert await again.next_message() == one.heartbeat(2, 8)


async def test_a_node_that_moves_is_reached_at_its_new_address() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        await within(one.wait_connected(2))
        await two.transport.close()
        moved = Peer(2)
        async with running(moved):
            introduce(one, moved)
            await within(one.wait_connected(2))
            one.transport.send_nowait(one.heartbeat(2, 8))
            assert await moved.next_message() == one.heartbeat(2, 8)


async def test_a_node_that_moves_is_reached_though_its_old_place_reads_nothing() -> None:
    """Its machine has vanished, say, or it was stopped there: what waits for it never leaves."""
    never = replace(SETTINGS, ping_interval=timedelta(minutes=1))  # to hang up by itself
    async with running(Peer(1), Peer(2, settings=never)) as (one, two):
        await within(one.wait_connected(2))
        (held,) = two.transport._answerer.connections()
        assert held._transport is not None
        held._transport.pause_reading()
        link = one.transport._links[2]
        while link._connection is None or link._connection.queued_bytes < 1_000_000:
            one.transport.send_nowait(one.append(2, b"x" * 100_000))
            await asyncio.sleep(0)
        moved = Peer(2)
        async with running(moved):
            introduce(one, moved)
            await within(one.wait_connected(2))
            one.transport.send_nowait(one.heartbeat(2, 8))
            assert await moved.next_message() == one.heartbeat(2, 8)
        held.abort("the test is over")


async def test_a_full_queue_drops_and_says_so() -> None:
    small = replace(SETTINGS, queue_bytes_max=100_000, message_bytes_max=100_000)
    async with running(Peer(1, settings=small), Peer(2)) as (one, two):
        await within(one.wait_connected(2))
        for number in range(50):
            one.transport.send_nowait(one.append(2, b"x" * 10_000, number))
        assert await within(one.losses.get()) == 2
        assert one.losses.empty(), "once, not once each"
        dropped = one.transport.statistics().dropped
        assert 0 < dropped < 50
        for _ in range(50 - dropped):
            await two.next_message()
        one.transport.send_nowait(one.heartbeat(2, 1))
        assert await two.next_message() == one.heartbeat(2, 1)


async def test_a_node_that_does_not_read_fills_no_memory_and_is_given_up() -> None:
    """It accepts connections and then hangs, as under SIGSTOP."""
    small = replace(SETTINGS, queue_bytes_max=1_000_000, message_bytes_max=1_000_000)
    one, two = Peer(1, settings=small), Peer(2)
    async with running(one, two):
        await within(one.wait_connected(2))
        (connection,) = two.transport._answerer.connections()
        assert connection._transport is not None
        connection._transport.pause_reading()
        lost = 0
        while lost < 2:
            one.transport.send_nowait(one.append(2, b"x" * 100_000))
            link = one.transport._links[2]
            queued = link._connection.queued_bytes if link._connection else 0
            assert queued <= 1_100_000
            await asyncio.sleep(0)
            lost += not one.losses.empty() and one.losses.get_nowait() == 2
        await within(one.wait_connected(2))  # another connection, to a node that reads again


async def test_a_removed_node_is_cut_off_and_told() -> None:
    async with running(Peer(1), Peer(2), Peer(3)) as (one, two, three):
        await within(three.wait_connected(1, 2))
        members = {1: one.address, 2: two.address}
        one.transport.set_peers(members)
        two.transport.set_peers(members)
        await three.next_trouble("raft-node-removed")
        one.transport.send_nowait(one.heartbeat(2, 1))
        assert await two.next_message() == one.heartbeat(2, 1)
        assert three.transport.statistics().connected == ()


async def test_a_node_that_is_missing_for_a_moment_is_not_cut_off() -> None:
    """As while another goes through its log, in which the node joins later."""
    patient = replace(SETTINGS, removal_delay=timedelta(hours=1))
    async with running(Peer(1, settings=patient), Peer(2)) as (one, two):
        await within(two.wait_connected(1))
        one.transport.set_peers({1: one.address})
        two.transport.send_nowait(two.heartbeat(1, 1))
        assert await one.next_message() == two.heartbeat(1, 1)
        one.transport.send_nowait(one.heartbeat(2, 2))
        assert await two.next_message() == one.heartbeat(2, 2)
        introduce(one, two)
        one.transport.send_nowait(one.heartbeat(2, 3))
        assert await two.next_message() == one.heartbeat(2, 3)
        assert two.troubles.empty()


async def test_a_member_that_nobody_told_of_yet_is_answered_where_it_says() -> None:
    """A node may be behind in the log and hear from a leader that joined since."""
    async with running(Peer(1), Peer(2)) as (one, two):
        four = Peer(4)
        await four.start()
        try:
            four.transport.set_peers({1: one.address, 2: two.address, 4: four.address})
            four.transport.send_nowait(four.heartbeat(1, 1))
            assert await one.next_message() == four.heartbeat(1, 1)
            await within(one.wait_connected(4))
            one.transport.send_nowait(one.heartbeat(4, 2))
            assert await four.next_message() == one.heartbeat(4, 2)
        finally:
            await four.transport.close()
        while 4 in one.transport._links:
            await asyncio.sleep(0.005)


async def test_an_address_in_use_is_refused_with_its_name() -> None:
    async with running(Peer(1)) as (one,):
        other = Peer(2, listen=one.address)
        with pytest.raises(CannotListen, match=one.address):
            await other.start()


@pytest.mark.parametrize("address", ["", "host", "host:", ":80", "host:http", "host:70000"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(CannotListen):
        await Peer(1, CREDENTIALS, listen=address).start()


async def test_a_peer_with_an_address_that_is_none_is_only_unreachable() -> None:
    async with running(Peer(1)) as (one,):
        one.transport.set_peers({1: one.address, 2: "nonsense"})
        trouble = await one.next_trouble("raft-peer-unreachable")
        assert "host:port" in str(trouble)
        one.transport.send_nowait(one.heartbeat(2, 1))
        assert await within(one.losses.get()) == 2


async def test_closing_sends_what_is_queued() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        await within(one.wait_connected(2))
        for number in range(500):
            one.transport.send_nowait(one.heartbeat(2, number))
        await one.transport.close()
        for number in range(500):
            assert await two.next_message() == one.heartbeat(2, number)


async def test_a_process_has_no_task_left_after_close() -> None:
    before = asyncio.all_tasks()
    async with running(Peer(1), Peer(2), Peer(3)) as (one, two, three):
        await within(one.wait_connected(2, 3))
        await one.transport.ask(2, b"?")
        assert {two.node, three.node} == {2, 3}
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_everything_works_on_uvloop_too() -> None:
    """Its transports are not of asyncio's classes."""

    async def scene() -> None:
        async with running(Peer(1), Peer(2)) as (one, two):
            message = one.append(2, bytes(3_000_000))
            one.transport.send_nowait(message)
            assert await two.next_message() == message
            assert await within(two.transport.ask(1, b"?")) == b"2 asked ?"
            snapshot = InstallSnapshot(source=1, target=2, term=3, snapshot=SnapshotMeta(9, 3))
            one.transport.send_snapshot_nowait(snapshot, bytes(3_000_000))
            assert await within(two.messages.get()) == (snapshot, bytes(3_000_000))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())

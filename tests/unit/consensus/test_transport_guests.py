"""Guests: who knows the secret and is no member may ask, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from moreton.consensus.errors import ConsensusError
from moreton.consensus.transport import Credentials, ask_as_guest
from moreton.consensus.transport.errors import (
    ClockApart,
    PeerUnreachable,
    QuestionFailed,
    WrongSecret,
)
from moreton.kernel.time import SystemClock
from support.raft_peers import SECRET, SETTINGS, Peer, running, within

# A guest need not know what the cluster is called.
GUEST = Credentials("whatever", SECRET)


class Wrong(SystemClock):
    def wall(self) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=10)


def host(peer: Peer) -> None:
    """Let *peer* answer guests."""

    async def answer(question: bytes) -> bytes:
        if question == b"slow":
            await asyncio.Event().wait()
        return b"welcome, " + question

    peer.transport._reception._guests = answer


async def test_a_guest_with_the_secret_is_answered() -> None:
    async with running(Peer(1), Peer(2)) as (one, _):
        host(one)
        for question in (b"a", b"b" * 2_000_000):
            answer = await within(ask_as_guest(one.address, GUEST, question, settings=SETTINGS))
            assert answer == b"welcome, " + question


async def test_a_guest_does_not_become_a_member() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        host(one)
        await one.wait_connected(2)
        await within(ask_as_guest(one.address, GUEST, b"a", settings=SETTINGS))
        assert one.transport.statistics().connected == (2,)
        assert two.transport.statistics().connected == (1,)


@pytest.mark.parametrize("credentials", [Credentials("forest", b"another secret of some length")])
async def test_a_guest_with_another_secret_is_not_heard(credentials: Credentials) -> None:
    async with running(Peer(1)) as (one,):
        host(one)
        with pytest.raises(WrongSecret):
            await within(ask_as_guest(one.address, credentials, b"a", settings=SETTINGS))
        await one.next_trouble("raft-wrong-secret")


async def test_a_node_that_answers_members_alone_tells_a_guest() -> None:
    async with running(Peer(1)) as (one,):
        with pytest.raises(QuestionFailed, match="none but members"):
            await within(ask_as_guest(one.address, GUEST, b"a", settings=SETTINGS))


async def test_nobody_at_the_address_is_told_a_guest() -> None:
    async with running(Peer(1)) as (one,):
        address = one.address
    with pytest.raises(PeerUnreachable):
        await within(ask_as_guest(address, GUEST, b"a", settings=SETTINGS))


async def test_a_guest_whose_clock_is_far_off_is_told_and_answered() -> None:
    async with running(Peer(1)) as (one,):
        host(one)
        told: list[ConsensusError] = []
        clock = Wrong()
        await within(
            ask_as_guest(
                one.address, GUEST, b"a", settings=SETTINGS, clock=clock, report=told.append
            )
        )
        (trouble,) = told
        assert isinstance(trouble, ClockApart)
        assert -601 < trouble.seconds < -599


async def test_a_node_can_stop_while_a_guest_waits() -> None:
    transport = Peer(1)
    async with running(transport) as (one,):
        host(one)
        asking = asyncio.ensure_future(ask_as_guest(one.address, GUEST, b"slow", settings=SETTINGS))
        while not one.transport._reception._desks:
            await asyncio.sleep(0.005)
    with pytest.raises(ConsensusError):
        await within(asking)

"""Nodes that should not talk to each other say why, on both sides, and hear nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from moreton.consensus.errors import ConsensusError
from moreton.consensus.transport import Credentials, PeerTls, TransportSettings
from moreton.consensus.transport.core.framing import frame
from moreton.consensus.transport.core.handshake import Channel, Hello, Party, encode_hello
from moreton.consensus.transport.errors import CredentialsUnusable, PeerUnreachable
from moreton.consensus.transport.link import ignore_item
from moreton.consensus.transport.meeting.dialing import Place, dial
from moreton.consensus.transport.meeting.identity import Identity
from moreton.kernel.time import SystemClock
from support.raft_peers import (
    CREDENTIALS,
    SETTINGS,
    Peer,
    ignore_trouble,
    introduce,
    running,
    within,
)


async def refusals(one: Peer, two: Peer, code: str) -> Sequence[ConsensusError]:
    """Both report *code*; nothing of either arrives at the other."""
    found = [await one.next_trouble(code), await two.next_trouble(code)]
    for peer, other in ((one, two), (two, one)):
        peer.transport.send_nowait(peer.heartbeat(other.node, 1))
        assert await within(peer.losses.get()) == other.node
        with pytest.raises(type(found[0])):
            await within(peer.transport.ask(other.node, b"?"))
        assert peer.messages.empty()
        assert not peer.transport.statistics().connected
    return found


async def test_a_wrong_secret_is_refused() -> None:
    stranger = Credentials("forest", b"another secret of many bytes")
    async with running(Peer(1), Peer(2, stranger)) as (one, two):
        found = await refusals(one, two, "raft-wrong-secret")
        assert "node 2" in str(found[0])
        assert "secret" not in repr(CREDENTIALS)


async def test_another_cluster_is_refused_with_both_names() -> None:
    other = Credentials("desert", CREDENTIALS.secret)
    async with running(Peer(1), Peer(2, other)) as (one, two):
        for error in await refusals(one, two, "raft-other-cluster"):
            assert "forest" in str(error)
            assert "desert" in str(error)


async def stranger_says(one: Peer, node: int, cluster: str) -> None:
    """Somebody who knows nothing says hello to *one*, and is refused."""
    party = Party(cluster, node, bytes(16))
    hello = Hello(party, one.node, Channel.MESSAGES, bytes(32), 0, "", has_secret=True)
    host, port = one.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(frame(encode_hello(hello)))
    await within(reader.read())
    writer.close()


async def test_what_a_stranger_calls_its_cluster_cannot_write_into_a_terminal() -> None:
    async with running(Peer(1)) as (one,):
        await stranger_says(one, 7, "\x1b[2Jwood\nerror: all is lost\u202e")
        told = str(await one.next_trouble("raft-other-cluster"))
        assert 'calls itself "?[2Jwood?error: all is lost?", and we "forest"' in told
        assert told.isprintable()


async def test_strangers_that_make_up_ids_hide_no_trouble_of_a_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("moreton.consensus.transport.troubles._KEPT_MAX", 6)
    monkeypatch.setattr("moreton.consensus.transport.troubles._UNPROVED_MAX", 3)
    async with running(Peer(1)) as (one,):
        for node in range(10, 20):
            await stranger_says(one, node, "desert")
        assert len(one.transport.troubles()) == 3
        one.transport.set_peers({1: one.address, 2: "127.0.0.1:1"})
        assert "node 2" in str(await one.next_trouble("raft-peer-unreachable"))


async def test_an_address_of_another_node_is_refused_with_its_name() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        one.transport.set_peers({1: one.address, 2: two.address, 3: two.address})
        trouble = await one.next_trouble("raft-address-of-another")
        assert f"{two.address} is said to be node 3, but node 2 answers" in str(trouble)
        one.transport.send_nowait(one.heartbeat(3, 1))
        assert await within(one.losses.get()) == 3
        assert two.messages.empty()


async def test_an_address_that_leads_back_is_refused() -> None:
    async with running(Peer(1)) as (one,):
        one.transport.set_peers({1: one.address, 2: one.address})
        trouble = await one.next_trouble("raft-address-of-another")
        assert "this node itself answers there" in str(trouble)
        assert one.messages.empty()


async def test_an_own_address_that_leads_to_another_is_reported() -> None:
    async with running(Peer(2)) as (two,):
        one = Peer(1, advertise=two.address)
        async with running(one):
            trouble = await one.next_trouble("raft-address-of-another")
            assert f"{two.address} is said to be node 1, but node 2 answers" in str(trouble)


async def test_an_own_address_that_leads_to_a_namesake_is_reported() -> None:
    async with running(Peer(1)) as (first,):
        second = Peer(1, advertise=first.address)
        async with running(second):
            await second.next_trouble("raft-node-claimed-twice")
            await first.next_trouble("raft-node-claimed-twice")


async def test_a_node_id_used_twice_is_refused_to_the_second() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        await within(one.wait_connected(2))
        await within(two.wait_connected(1))
        second = Peer(2)
        await second.start()
        try:
            second.transport.set_peers({1: one.address, 2: second.address})
            told = await second.next_trouble("raft-node-claimed-twice")
            seen = await one.next_trouble("raft-node-claimed-twice")
            assert "node 2" in str(told)
            assert "node 2" in str(seen)
            second.transport.send_nowait(second.heartbeat(1, 2))
            two.transport.send_nowait(two.heartbeat(1, 1))
            assert await one.next_message() == two.heartbeat(1, 1)
            assert await within(second.losses.get()) == 1
            assert one.messages.empty()
        finally:
            await second.transport.close()


async def test_a_new_run_of_a_node_takes_the_place_of_a_silent_one() -> None:
    """The old one's machine lost its power: nothing ever closed its connections."""
    async with running(Peer(1)) as (one,):
        patient = replace(SETTINGS, ping_interval=timedelta(hours=1))
        old = Identity(2, CREDENTIALS, settings=patient, clock=SystemClock(), report=ignore_trouble)
        silent = await dial(old, Place(1, one.address), Channel.MESSAGES, ignore_item)
        assert silent._transport is not None
        silent._transport.pause_reading()
        again = Peer(2)
        async with running(again):
            introduce(one, again)
            again.transport.send_nowait(again.heartbeat(1, 5))
            assert await one.next_message() == again.heartbeat(1, 5)
        silent.abort("the test is over")
        await within(silent.wait_closed())


class ClockApart(SystemClock):
    """Eleven minutes fast."""

    def wall(self) -> datetime:
        return super().wall() + timedelta(minutes=11)


async def test_a_clock_minutes_off_is_reported_and_does_not_stop_agreement() -> None:
    async with running(Peer(1), Peer(2, clock=ClockApart())) as (one, two):
        assert "is 660 s ahead of ours" in str(await one.next_trouble("raft-clock-apart"))
        assert "is 660 s behind ours" in str(await two.next_trouble("raft-clock-apart"))
        one.transport.send_nowait(one.heartbeat(2, 1))
        assert await two.next_message() == one.heartbeat(2, 1)
        (trouble,) = one.transport.troubles()[2]
        assert trouble.code == "raft-clock-apart"


async def test_another_protocol_behind_the_address_is_refused() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with running(Peer(1)) as (one,):
        one.transport.set_peers({1: one.address, 2: f"127.0.0.1:{port}"})
        await one.next_trouble("raft-other-version")
    server.close()


async def test_a_trouble_is_reported_once_and_forgotten_when_it_is_over() -> None:
    async with running(Peer(1)) as (one,):
        two = Peer(2)
        await two.start()
        address = two.address
        await two.transport.close()
        one.transport.set_peers({1: one.address, 2: address})
        await one.next_trouble("raft-peer-unreachable")
        for _ in range(3):  # three more attempts
            assert await within(one.losses.get()) == 2
        assert one.troubles.empty()
        assert [error.code for error in one.transport.troubles()[2]] == ["raft-peer-unreachable"]
        again = Peer(2, listen=address)
        async with running(again):
            await within(one.wait_connected(2))
            assert one.transport.troubles() == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"cluster": ""}, "0 bytes", id="no name"),
        pytest.param({"cluster": "x" * 300}, "300 bytes", id="long name"),
        pytest.param({"secret": None}, "neither", id="nothing"),
        pytest.param({"secret": b"short"}, "has 5 bytes", id="short secret"),
    ],
)
def test_credentials_that_prove_nothing_are_refused(
    arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(CredentialsUnusable, match=words):
        Credentials(**({"cluster": "forest", "secret": b"x" * 16} | arguments))  # type: ignore[arg-type]


def test_a_secret_file_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(CredentialsUnusable, match="No such file"):
        Credentials.from_secret_file("forest", path)
    path.write_bytes(b"0123456789abcdef\n")
    assert Credentials.from_secret_file("forest", path).secret == b"0123456789abcdef"


def test_tls_files_that_are_none_are_refused(tmp_path: Path) -> None:
    tls = PeerTls(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    with pytest.raises(CredentialsUnusable, match="do not make a certificate"):
        Peer(1, Credentials("forest", tls=tls))


async def test_asking_a_node_that_nobody_told_of_is_refused() -> None:
    async with running(Peer(1)) as (one,):
        with pytest.raises(PeerUnreachable, match="node 5"):
            await one.transport.ask(5, b"?")


@pytest.mark.parametrize("node", [0, -1, 1 << 64, "1", None])
def test_a_node_that_has_no_number_is_refused(node: Any) -> None:
    with pytest.raises(ValueError, match="give a number of 1 or more"):
        Peer(node)


def test_an_advertised_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="host:port"):
        Peer(1, advertise="10.0.0.1")


@pytest.mark.parametrize("secret", ["0123456789abcdef", 12])
def test_a_secret_that_is_not_bytes_is_refused(secret: Any) -> None:
    with pytest.raises(TypeError, match="the secret as bytes"):
        Credentials("forest", secret)


@pytest.mark.parametrize(
    "settings",
    [
        {"ping_interval": timedelta(0)},
        {"queue_messages_max": 0},
        {"chunk_bytes": -1},
        {"message_bytes_max": 2, "queue_bytes_max": 1},
    ],
)
def test_settings_by_which_nothing_could_be_sent_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give more than 0|raise the queue"):
        TransportSettings(**settings)


async def test_nodes_meet_over_ipv6_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6: addresses like [::1]:7400 were NOT tested")
    async with running(Peer(1, listen="[::1]:0"), Peer(2, listen="[::1]:0")) as (one, two):
        assert one.address.startswith("[::1]:")
        one.transport.send_nowait(one.heartbeat(2, 1))
        assert await two.next_message() == one.heartbeat(2, 1)

"""Mutual TLS between nodes, with certificates made for the test."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from moreton.consensus.transport import Credentials, PeerTls
from moreton.consensus.transport.errors import CredentialsUnusable
from support.certificates import Authority
from support.raft_peers import SECRET, Peer, running, within


def credentials(
    authority: Authority,
    name: str,
    uri: str = "",
    *,
    secret: bytes | None = None,
    begins: timedelta = -timedelta(hours=1),
) -> Credentials:
    certificate, key = authority.issue(name, uri, begins=begins)
    return Credentials("forest", secret, PeerTls(certificate, key, authority.certificate))


async def meet(one: Peer, two: Peer) -> None:
    one.transport.send_nowait(one.append(2, b"x" * 300_000))
    assert await two.next_message() == one.append(2, b"x" * 300_000)
    assert await within(two.transport.ask(1, b"?")) == b"2 asked ?"


async def test_certificates_that_name_their_nodes_are_enough(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    peers = [
        Peer(node, credentials(authority, f"n{node}", f"spiffe://forest/node/{node}"))
        for node in (1, 2)
    ]
    async with running(*peers):
        await meet(*peers)


async def test_a_secret_proves_the_node_where_certificates_name_none(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    peers = [Peer(node, credentials(authority, f"n{node}", secret=SECRET)) for node in (1, 2)]
    async with running(*peers):
        await meet(*peers)


async def test_a_certificate_of_another_node_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good = credentials(authority, "one", "spiffe://forest/node/1")
    false = credentials(authority, "two", "spiffe://forest/node/3")
    async with running(Peer(1, good), Peer(2, false)) as (one, two):
        told = await two.next_trouble("raft-tls-refused")
        assert "our certificate names spiffe://forest/node/3" in str(told)
        seen = await one.next_trouble("raft-address-of-another")
        assert "a certificate of spiffe://forest/node/3" in str(seen)
        assert not one.transport.statistics().connected
        assert not two.transport.statistics().connected


async def test_a_certificate_that_names_nobody_is_refused_without_a_secret(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good = credentials(authority, "one", "spiffe://forest/node/1")
    async with running(Peer(1, good), Peer(2, credentials(authority, "two"))) as (one, two):
        assert "names nobody" in str(await two.next_trouble("raft-tls-refused"))
        await one.next_trouble("raft-address-of-another")


async def test_a_certificate_of_another_cluster_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good = credentials(authority, "one", "spiffe://forest/node/1")
    false = credentials(authority, "two", "spiffe://desert/node/2")
    async with running(Peer(1, good), Peer(2, false)) as (one, two):
        await two.next_trouble("raft-tls-refused")
        await one.next_trouble("raft-address-of-another")


async def test_a_certificate_of_another_authority_is_refused_on_both_sides(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    good = credentials(ours, "one", "spiffe://forest/node/1")
    false = credentials(theirs, "two", "spiffe://forest/node/2")
    async with running(Peer(1, good), Peer(2, false)) as (one, two):
        await one.next_trouble("raft-tls-refused")
        await two.next_trouble("raft-tls-refused")
        assert not one.transport.statistics().connected


@pytest.mark.parametrize("begins", [timedelta(minutes=10), -timedelta(days=2)])
async def test_a_certificate_out_of_its_time_is_refused(tmp_path: Path, begins: timedelta) -> None:
    """As it looks to a node whose clock is ten minutes slow, or two days fast."""
    authority = Authority(tmp_path)
    good = credentials(authority, "one", "spiffe://forest/node/1")
    early = credentials(authority, "two", "spiffe://forest/node/2", begins=begins)
    async with running(Peer(1, good), Peer(2, early)) as (one, two):
        assert "by both clocks" in str(await one.next_trouble("raft-tls-refused"))
        assert not two.transport.statistics().connected


async def test_a_node_without_tls_is_refused_by_one_with(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good = credentials(authority, "one", "spiffe://forest/node/1", secret=SECRET)
    async with running(Peer(1, good), Peer(2)) as (one, two):
        assert "does it expect TLS?" in str(await two.next_trouble("raft-peer-unreachable"))
        assert not one.transport.statistics().connected
        assert not two.transport.statistics().connected


async def test_a_wrong_secret_is_refused_under_tls_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good = credentials(authority, "one", secret=SECRET)
    false = credentials(authority, "two", secret=b"x" * 32)
    async with running(Peer(1, good), Peer(2, false)) as (one, two):
        await one.next_trouble("raft-wrong-secret")
        await two.next_trouble("raft-wrong-secret")


def test_an_encrypted_key_is_refused_instead_of_asking(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("one", password=b"hidden")
    with pytest.raises(CredentialsUnusable, match="encrypted"):
        Peer(1, Credentials("forest", tls=PeerTls(certificate, key, authority.certificate)))

"""The store's part: one leader an epoch, tokens that grow, writes that are fenced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from moreton.election.ring import AdvisoryClaims, Decision, FencedOff, StoreClaims, Uid
from moreton.store import Put, Store, open_store

ONE, TWO = Uid(1), Uid(2, 3, "db")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("memory:")
    yield opened
    await opened.close()


async def test_claim_of_a_free_ring_is_granted_with_the_revision_as_token(store: Store) -> None:
    claims = StoreClaims(store, "jobs")
    assert await claims.holder() is None
    won = await claims.claim(TWO, 1)
    found = (await store.range(b"/moreton/ring/jobs/leader")).kvs[0]
    assert won == Decision(1, TWO, found.mod_revision) == await claims.holder()
    assert not won.is_advisory


async def test_epoch_is_granted_once_and_only_upwards(store: Store) -> None:
    claims = StoreClaims(store, "jobs")
    first = await claims.claim(ONE, 5)
    assert await claims.claim(TWO, 5) == first
    assert await claims.claim(TWO, 4) == first
    second = await claims.claim(TWO, 6)
    assert second.leader == TWO
    assert (second.token or 0) > (first.token or 0)


async def test_claiming_again_what_one_holds_changes_nothing(store: Store) -> None:
    claims = StoreClaims(store, "jobs")
    assert await claims.claim(ONE, 5) == await claims.claim(ONE, 5)


async def test_claims_at_the_same_time_have_one_winner(store: Store) -> None:
    claims = StoreClaims(store, "jobs")
    held = await asyncio.gather(*(claims.claim(Uid(number), 1) for number in range(20)))
    assert len(set(held)) == 1


async def test_rings_of_different_names_do_not_meet(store: Store) -> None:
    assert (await StoreClaims(store, "a").claim(ONE, 1)).leader == ONE
    assert (await StoreClaims(store, "b").claim(TWO, 1)).leader == TWO


async def test_write_with_the_newest_token_is_done(store: Store) -> None:
    claims = StoreClaims(store, "jobs")
    token = (await claims.claim(ONE, 1)).token or 0
    for number in (b"1", b"2"):
        await claims.write(token, [Put(b"work", number)])
    assert (await store.range(b"work")).kvs[0].value == b"2"


async def test_write_with_an_old_token_is_refused_and_does_nothing(store: Store) -> None:
    claims = StoreClaims(store, "jobs")
    old = (await claims.claim(ONE, 1)).token or 0
    new = (await claims.claim(TWO, 2)).token or 0
    with pytest.raises(FencedOff, match=rf"token {old} .* the token is {new} by now") as refused:
        await claims.write(old, [Put(b"work", b"late")])
    assert (refused.value.token, refused.value.current) == (old, new)
    assert not (await store.range(b"work")).kvs


async def test_write_is_refused_when_nobody_holds_the_ring(store: Store) -> None:
    with pytest.raises(FencedOff, match="nobody holds it"):
        await StoreClaims(store, "jobs").write(7, [Put(b"work", b"late")])


@pytest.mark.parametrize("junk", [b"", b"[]", b"{}", b'{"epoch":1,"leader":[1,2]}', b"\xff"])
async def test_value_that_no_member_wrote_is_replaced(store: Store, junk: bytes) -> None:
    claims = StoreClaims(store, "jobs")
    await store.put(claims.key, junk)
    assert await claims.holder() is None
    assert (await claims.claim(ONE, 1)).leader == ONE


@pytest.mark.parametrize("name", ["", "A", "a/b", "-a", "a" * 64])
async def test_name_that_could_leave_its_key_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="does not name a ring"):
        StoreClaims(store, name)


async def test_without_a_store_every_claim_is_granted_and_advisory() -> None:
    held = [await AdvisoryClaims().claim(uid, 1) for uid in (ONE, TWO)]
    assert [decision.leader for decision in held] == [ONE, TWO]
    assert all(decision.is_advisory for decision in held)

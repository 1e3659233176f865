from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from moreton.registry import Instance, InstanceId, Registry
from moreton.registry.core.instance import TTL_DEFAULT
from moreton.registry.core.instructions import Action, Phase, decode, encode
from moreton.registry.errors import InstanceNotRegistered, InstructionSuperseded
from moreton.registry.instructions import Instructions
from moreton.store import Store, open_store

ONE = Instance(InstanceId("1"), "shop", "10.0.0.1", 80)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("memory:")
    yield opened
    await opened.close()


@pytest.fixture
async def instructions(store: Store) -> AsyncIterator[Instructions]:
    await Registry(store).register(ONE, ttl=TTL_DEFAULT)
    known = Instructions(store)
    task = asyncio.create_task(known.follow(lambda: None))
    while store.statistics().watches == 0:
        await asyncio.sleep(0)
    yield known
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_instruction_is_heard_by_whoever_waits_for_it(instructions: Instructions) -> None:
    waiting = asyncio.create_task(instructions.wait("shop", "1", after="", seconds=10))
    await asyncio.sleep(0)
    given = await instructions.give("shop", "1", Action.STOP, token="t", by="me", anew=True)
    heard = await waiting
    assert heard is not None
    assert heard.name == given.name
    again = await instructions.wait("shop", "1", after=given.name, seconds=0)
    assert again is None, "what was heard is not heard twice"


async def test_same_token_is_the_same_instruction(instructions: Instructions) -> None:
    first = await instructions.give("shop", "1", Action.RESTART, token="t", by="me", anew=True)
    await instructions.report("shop", "1", first.name, Phase.STARTING)
    again = await instructions.give("shop", "1", Action.RESTART, token="t", by="you", anew=True)
    assert (again.phase, again.by) == (Phase.STARTING, "me")


async def test_attempt_that_failed_is_followed_by_another_one_when_asked_anew(
    instructions: Instructions,
) -> None:
    first = await instructions.give("shop", "1", Action.RESTART, token="t", by="me", anew=True)
    await instructions.report("shop", "1", first.name, Phase.FAILED, "why")
    same = await instructions.give("shop", "1", Action.RESTART, token="t", by="me", anew=False)
    assert (same.phase, same.detail) == (Phase.FAILED, "why")
    second = await instructions.give("shop", "1", Action.RESTART, token="t", by="me", anew=True)
    assert (second.phase, second.name) == (Phase.ASKED, "t.2")
    heard = await instructions.wait("shop", "1", after=first.name, seconds=10)
    assert heard is not None
    assert heard.name == "t.2"
    with pytest.raises(InstructionSuperseded, match="is not the one that instance"):
        await instructions.report("shop", "1", first.name, Phase.DONE)


async def test_another_token_takes_the_place(instructions: Instructions) -> None:
    await instructions.give("shop", "1", Action.RESTART, token="t", by="me", anew=True)
    await instructions.give("shop", "1", Action.STOP, token="u", by="me", anew=True)
    assert [each.token for each in (await instructions.of("shop")).values()] == ["u"]


async def test_report_on_nothing_is_refused(instructions: Instructions) -> None:
    with pytest.raises(InstructionSuperseded):
        await instructions.report("shop", "1", "t.1", Phase.DONE)


async def test_instruction_is_read_as_it_was_written(instructions: Instructions) -> None:
    given = await instructions.give("shop", "1", Action.STOP, token="t", by="me", anew=True)
    kept = decode(encode(given))
    assert kept is not None
    assert (kept.name, kept.action, kept.by) == (given.name, given.action, given.by)
    for odd in (b"", b"1", b"{}", encode(given).replace(b"stop", b"fly")):
        assert decode(odd) is None


async def test_what_an_earlier_instance_did_not_hear_is_not_for_the_next_of_its_id(
    instructions: Instructions, store: Store
) -> None:
    registry = Registry(store)
    await instructions.give("shop", "1", Action.STOP, token="t", by="me", anew=True)
    await registry.deregister("shop", "1")
    with pytest.raises(InstanceNotRegistered):
        await instructions.wait("shop", "1", after="", seconds=0)
    await registry.register(ONE, ttl=TTL_DEFAULT)
    while (await instructions.of("shop")) and instructions.get("shop", "1") is None:
        await asyncio.sleep(0)
    assert await instructions.wait("shop", "1", after="", seconds=0) is None
    given = await instructions.give("shop", "1", Action.STOP, token="u", by="me", anew=True)
    heard = await instructions.wait("shop", "1", after="", seconds=10)
    assert heard is not None
    assert heard.name == given.name


async def test_what_was_told_before_the_lease_ended_is_for_the_same_program_that_came_back(
    instructions: Instructions, store: Store
) -> None:
    registry = Registry(store)
    first = await registry.register(ONE, ttl=TTL_DEFAULT)
    given = await instructions.give("shop", "1", Action.RESTART, token="t", by="me", anew=True)
    assert first.lease is not None
    await store.revoke(first.lease)
    assert not (await registry.instances("shop")).instances
    await registry.register(ONE, ttl=TTL_DEFAULT)
    since = first.revision
    heard = await instructions.wait("shop", "1", after="", since=since, seconds=10)
    assert heard is not None
    assert heard.name == given.name


async def test_revision_of_a_store_that_was_made_anew_since_keeps_nothing_from_being_heard(
    instructions: Instructions,
) -> None:
    await instructions.give("shop", "1", Action.RESTART, token="t", by="me", anew=True)
    heard = await instructions.wait("shop", "1", after="", since=10**9, seconds=10)
    assert heard is not None


async def test_who_waits_is_answered_when_the_server_stops(instructions: Instructions) -> None:
    waiting = asyncio.create_task(instructions.wait("shop", "1", after="", seconds=60))
    await asyncio.sleep(0)
    instructions.close()
    async with asyncio.timeout(5):
        assert await waiting is None

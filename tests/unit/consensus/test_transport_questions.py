"""Questions between nodes: an answer, or an error that says whether it may have been heard."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.consensus.transport.errors import (
    AnswerLost,
    PeerUnreachable,
    QuestionFailed,
    QuestionRefused,
    TooLargeToSend,
)
from support.raft_peers import SETTINGS, Peer, running, within


async def test_each_question_gets_its_own_answer() -> None:
    async with running(Peer(1), Peer(2)) as (one, _):
        questions = [b"%d" % number for number in range(200)]
        answers = await within(asyncio.gather(*(one.transport.ask(2, q) for q in questions)))
        assert answers == [b"1 asked " + question for question in questions]


async def test_a_slow_answer_holds_up_no_other() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        release = asyncio.Event()

        async def answer(_: int, question: bytes) -> bytes:
            if question == b"slow":
                await release.wait()
            return question

        two.answer = answer
        slow = asyncio.ensure_future(one.transport.ask(2, b"slow"))
        assert await within(one.transport.ask(2, b"fast")) == b"fast"
        assert not slow.done()
        release.set()
        assert await within(slow) == b"slow"


async def test_no_answer_in_time_is_an_answer_lost() -> None:
    hasty = replace(SETTINGS, answer_timeout=timedelta(milliseconds=50))
    async with running(Peer(1, settings=hasty), Peer(2)) as (one, two):
        never = asyncio.Event()

        async def answer(_: int, _question: bytes) -> bytes:
            await never.wait()
            return b""

        two.answer = answer
        with pytest.raises(AnswerLost, match=r"not within 0.05 s.*may have happened"):
            await one.transport.ask(2, b"?")


async def test_a_node_that_dies_over_a_question_leaves_an_answer_lost() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        asked, never = asyncio.Event(), asyncio.Event()

        async def answer(_: int, _question: bytes) -> bytes:
            asked.set()
            await never.wait()
            return b""

        two.answer = answer
        question = asyncio.ensure_future(one.transport.ask(2, b"?"))
        await within(asked.wait())
        await two.transport.close()
        with pytest.raises(AnswerLost):
            await within(question)
        with pytest.raises(PeerUnreachable, match="nothing was sent"):
            await within(one.transport.ask(2, b"?"))


async def test_a_node_that_breaks_over_a_question_says_so() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):

        async def answer(_: int, _question: bytes) -> bytes:
            raise PeerUnreachable(target=3, address="x:1", reason="made up")

        two.answer = answer
        with pytest.raises(QuestionFailed, match="made up"):
            await one.transport.ask(2, b"?")


async def test_too_many_questions_are_refused_by_the_asker_and_by_the_asked() -> None:
    few = replace(SETTINGS, questions_max=3)
    async with running(Peer(1, settings=few), Peer(2), Peer(3, settings=few)) as (one, two, three):
        release = asyncio.Event()

        async def answer(_: int, question: bytes) -> bytes:
            await release.wait()
            return question

        two.answer = three.answer = answer
        waiting = [asyncio.ensure_future(one.transport.ask(2, b"%d" % n)) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QuestionRefused):
            await one.transport.ask(2, b"too many")
        waiting += [asyncio.ensure_future(two.transport.ask(3, b"%d" % n)) for n in range(3, 6)]
        while three.asked < 3:
            await asyncio.sleep(0)
        with pytest.raises(QuestionRefused):
            await within(two.transport.ask(3, b"too many"))
        release.set()
        answers = await within(asyncio.gather(*waiting))
        assert answers == [b"0", b"1", b"2", b"3", b"4", b"5"]


async def test_a_question_beyond_the_limit_is_not_sent() -> None:
    small = replace(SETTINGS, question_bytes_max=1000)
    async with running(Peer(1, settings=small), Peer(2)) as (one, _):
        with pytest.raises(TooLargeToSend, match="1001 bytes"):
            await one.transport.ask(2, bytes(1001))
        assert len(await within(one.transport.ask(2, bytes(1000)))) == 1008


async def test_who_gives_up_asking_disturbs_nobody() -> None:
    async with running(Peer(1), Peer(2)) as (one, two):
        asked, release = asyncio.Event(), asyncio.Event()

        async def answer(_: int, question: bytes) -> bytes:
            asked.set()
            await release.wait()
            return question

        two.answer = answer
        first = asyncio.ensure_future(one.transport.ask(2, b"first"))
        await within(asked.wait())
        first.cancel()
        second = asyncio.ensure_future(one.transport.ask(2, b"second"))
        release.set()
        assert await within(second) == b"second"
        assert first.cancelled()

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from moreton.resilience import Policy, Timeout
from moreton.resilience.clients.answers import Answers

LONG = timedelta(minutes=1)


async def test_no_answer_stays_open_when_closing_the_others_is_cancelled() -> None:
    closed: list[str] = []
    closing = asyncio.Event()

    async def close(answer: str) -> None:
        closed.append(answer)
        if answer == "other":
            closing.set()
            await asyncio.Event().wait()

    answers = Answers(close)

    async def send() -> str:
        answers.keep("other")
        answers.keep("first")
        return "first"

    task = asyncio.ensure_future(answers.hand_on_async(Policy(Timeout(LONG)), send))
    await closing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == ["other", "first"]

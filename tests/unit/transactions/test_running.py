"""What blocks is called beside a loop: on a thread, or between two turns of the loop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from moreton.transactions.running import Blocking

pytestmark = pytest.mark.slow


def never() -> None:
    raise AssertionError("nobody told it to stop")


def run(body: Callable[[Blocking], Awaitable[None]], stop: Callable[[], None] = never) -> None:
    blocking = Blocking("test")

    async def serve() -> None:
        await body(blocking)

    blocking.run(serve, stop)
    blocking.close()


@pytest.fixture(params=["uvloop", "asyncio"])
def _loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)


both = pytest.mark.usefixtures("_loops")


@both
def test_call_of_a_program_is_on_its_thread_where_no_loop_runs_meanwhile() -> None:
    async def body(blocking: Blocking) -> None:
        assert await blocking.call(threading.current_thread) is threading.main_thread()
        assert await blocking.call(asyncio.run, asyncio.sleep(0, 7)) == 7

    run(body)


async def test_call_under_the_loop_of_another_is_on_a_thread_of_its_own() -> None:
    blocking = Blocking("test")
    assert (await blocking.call(threading.current_thread)).name == "test_0"
    blocking.close()


@both
def test_calls_answer_in_their_order_and_raise_where_they_are_awaited() -> None:
    called: list[int] = []

    def call(number: int) -> int:
        called.append(number)
        if number == 1:
            raise KeyError(number)
        return number

    async def body(blocking: Blocking) -> None:
        calls = [blocking.call(call, number) for number in range(3)]
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
        assert (first, repr(second), third) == (0, "KeyError(1)", 2)

    run(body)
    assert called == [0, 1, 2]


@both
def test_call_finds_what_the_one_before_it_left_in_its_context() -> None:
    left = ContextVar("left", default=0)

    async def body(blocking: Blocking) -> None:
        await blocking.call(left.set, 7)
        assert await asyncio.create_task(blocking.call(left.get)) == 7
        assert left.get() == 0

    run(body)


@both
def test_loop_goes_on_running_for_what_waits_in_it_after_a_call() -> None:
    async def body(blocking: Blocking) -> None:
        with pytest.raises(KeyError):
            await blocking.call({}.pop, 1)
        assert asyncio.get_running_loop().is_running()
        async with asyncio.timeout(30):
            await asyncio.to_thread(int)

    run(body)


@both
def test_call_that_nobody_awaits_any_more_ends_in_silence() -> None:
    async def body(blocking: Blocking) -> None:
        for function in (int, never):
            task = asyncio.create_task(blocking.call(function))
            await asyncio.sleep(0)
            task.cancel()
            assert await asyncio.gather(task, return_exceptions=True)

    run(body)


@both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_between_two_turns_of_the_loop_stops_a_program(number: signal.Signals) -> None:
    told = asyncio.Event()

    async def body(blocking: Blocking) -> None:
        await blocking.call(os.kill, os.getpid(), number)
        await asyncio.wait_for(told.wait(), 30)

    before = signal.getsignal(number)
    run(body, told.set)
    assert signal.getsignal(number) is before


def test_what_was_loaded_before_a_program_runs_is_not_looked_through_for_garbage() -> None:
    async def body(blocking: Blocking) -> None:
        assert await blocking.call(gc.get_freeze_count) > 0

    run(body)
    assert gc.get_freeze_count() == 0


@both
def test_what_a_program_raises_is_raised_by_its_run() -> None:
    async def body(blocking: Blocking) -> None:
        await blocking.call(never)

    with pytest.raises(AssertionError, match="nobody told"):
        run(body)


def test_program_on_another_thread_leaves_signals_alone() -> None:
    found: list[threading.Thread] = []

    async def body(blocking: Blocking) -> None:
        found.append(await blocking.call(threading.current_thread))

    thread = threading.Thread(target=run, args=(body,))
    thread.start()
    thread.join(30)
    assert found == [thread]

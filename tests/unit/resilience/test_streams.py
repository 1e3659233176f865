"""Generators under policies: retried until the first item, limited and counted from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from datetime import timedelta

import pytest

from moreton.resilience import Bulkhead, Fallback, Hedge, Policy, Retry, Timeout, TotalTimeout
from moreton.resilience.context import attempt_var, deadline_var, remaining
from moreton.resilience.errors import DeadlineExceeded
from moreton.resilience.layers.layer import Layer
from moreton.resilience.timing import SYSTEM
from moreton.testing import VirtualTiming

SECOND = timedelta(seconds=1)


def retry() -> Retry:
    return Retry(attempts=3, idempotent=True, timing=VirtualTiming())


class Source:
    """Fails *before* times before its first item, and once after item *after*."""

    def __init__(self, *, before: int = 0, after: int = 99) -> None:
        self.before = before
        self.after = after
        self.begun = self.ended = 0
        self.sent: list[object] = []

    def items(self) -> Generator[int, object, str]:
        self.begun += 1
        try:
            self._maybe_fail()
            for number in range(3):
                self.sent.append((yield number))
                if number == self.after:
                    raise ConnectionResetError
        finally:
            self.ended += 1
        return "end"

    async def items_async(self) -> AsyncGenerator[int, object]:
        self.begun += 1
        try:
            self._maybe_fail()
            for number in range(3):
                self.sent.append((yield number))
                if number == self.after:
                    raise ConnectionResetError
        finally:
            self.ended += 1

    def _maybe_fail(self) -> None:
        if self.begun <= self.before:
            raise ConnectionResetError


def test_a_generator_is_begun_again_until_it_gives_an_item() -> None:
    source = Source(before=2)
    assert list(Policy(retry())(source.items)()) == [0, 1, 2]
    assert source.begun == 3


async def test_an_asynchronous_generator_is_begun_again_until_it_gives_an_item() -> None:
    source = Source(before=2)
    assert [item async for item in Policy(retry())(source.items_async)()] == [0, 1, 2]
    assert source.begun == 3


def test_a_generator_begun_again_knows_which_attempt_it_is() -> None:
    seen: list[int] = []

    def items() -> Generator[int, None, None]:
        seen.append(attempt_var.get())
        if len(seen) < 3:
            raise ConnectionResetError
        yield 1

    assert list(Policy(retry())(items)()) == [1]
    assert seen == [1, 2, 3]
    assert attempt_var.get() == 1


def test_what_was_handed_out_is_not_handed_out_again() -> None:
    source = Source(after=1)
    got: list[int] = []
    with pytest.raises(ConnectionResetError):
        got += Policy(retry())(source.items)()
    assert source.begun == 1


async def test_what_was_handed_out_asynchronously_is_not_handed_out_again() -> None:
    source = Source(after=1)
    items = Policy(retry())(source.items_async)()
    got = [await anext(items), await anext(items)]
    with pytest.raises(ConnectionResetError):
        await anext(items)
    assert got == [0, 1]
    assert source.begun == 1


LAYERS = [
    pytest.param((retry(),), id="retry"),
    pytest.param((Bulkhead(1),), id="gate"),
    pytest.param((Timeout(60 * SECOND),), id="timeout"),
    pytest.param((TotalTimeout(90 * SECOND), retry(), Bulkhead(1), Timeout(60 * SECOND)), id="all"),
]


@pytest.mark.parametrize("layers", LAYERS)
def test_a_generator_gets_what_is_sent_and_its_result_comes_out(layers: tuple[Layer, ...]) -> None:
    source = Source()
    results = []

    def reader() -> Generator[int, object, None]:
        results.append((yield from Policy(*layers)(source.items)()))

    items = reader()
    assert next(items) == 0
    assert items.send("a") == 1
    assert items.send("b") == 2
    with pytest.raises(StopIteration):
        items.send("c")
    assert source.sent == ["a", "b", "c"]
    assert results == ["end"]


@pytest.mark.parametrize("layers", LAYERS)
async def test_an_asynchronous_generator_gets_what_is_sent(layers: tuple[Layer, ...]) -> None:
    source = Source()
    async with aclosing(Policy(*layers)(source.items_async)()) as items:
        assert await anext(items) == 0
        assert await items.asend("a") == 1
        assert await items.asend("b") == 2
    assert source.sent == ["a", "b"]


@pytest.mark.parametrize("layers", LAYERS)
def test_closing_a_generator_ends_what_is_within(layers: tuple[Layer, ...]) -> None:
    source = Source()
    items = Policy(*layers)(source.items)()
    assert next(items) == 0
    items.close()
    assert source.ended == 1
    assert all(not gate.statistics().under_way for gate in layers if isinstance(gate, Bulkhead))


@pytest.mark.parametrize("layers", LAYERS)
async def test_closing_an_asynchronous_generator_ends_what_is_within(
    layers: tuple[Layer, ...],
) -> None:
    source = Source()
    items = Policy(*layers)(source.items_async)()
    assert await anext(items) == 0
    await items.aclose()
    assert source.ended == 1
    assert all(not gate.statistics().under_way for gate in layers if isinstance(gate, Bulkhead))


@pytest.mark.parametrize("layers", LAYERS)
def test_an_error_thrown_into_a_generator_arrives_within(layers: tuple[Layer, ...]) -> None:
    source = Source()
    items = Policy(*layers)(source.items)()
    assert next(items) == 0
    with pytest.raises(KeyError):
        items.throw(KeyError())
    assert source.ended == 1


@pytest.mark.parametrize("layers", LAYERS)
async def test_an_error_thrown_into_an_asynchronous_generator_ends_what_is_within(
    layers: tuple[Layer, ...],
) -> None:
    source = Source()
    items = Policy(*layers)(source.items_async)()
    assert await anext(items) == 0
    with pytest.raises(KeyError):
        await items.athrow(KeyError())
    assert source.ended == 1


def test_the_deadline_of_a_generator_is_not_that_of_its_reader() -> None:
    def items() -> Generator[timedelta | None, None, None]:
        yield remaining()
        yield remaining()

    before = deadline_var.get()
    for left in Timeout(SECOND)(items)():
        assert left is not None
        assert left <= SECOND
        assert deadline_var.get() == before


async def test_the_time_of_a_generator_may_end_while_its_reader_works() -> None:
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.Event().wait()

    read = Timeout(timedelta(milliseconds=10))(items)()
    over = SYSTEM.now() + 0.02
    async with aclosing(read):
        assert await anext(read) == 1
        # Not the reader is cancelled, though it works on until the time is over...
        while SYSTEM.now() < over:
            await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await anext(read)  # ...but what it waits for next.


@pytest.mark.parametrize("layer", [Hedge(SECOND, idempotent=True), Fallback(0)])
def test_layers_that_would_take_items_back_refuse_generators(layer: Layer) -> None:
    with pytest.raises(TypeError, match=r"handed out|no coroutine"):
        layer(Source().items)
    with pytest.raises(TypeError, match=r"handed out|no coroutine"):
        layer(Source().items_async)

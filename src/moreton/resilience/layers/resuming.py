"""Generators within generators: one whose first item was taken already, one of asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Any


class Resumed(Generator[Any, Any, Any]):
    """Gives *first*, then what *items* gives; what is sent and thrown goes to *items*."""

    def __init__(self, items: Generator[Any, Any, Any], first: Any) -> None:
        self._items = items
        self._first = [first]

    def send(self, value: Any, /) -> Any:
        """The next item."""
        if self._first:
            return self._first.pop()
        return self._items.send(value)

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        """Raise within *items*."""
        self._first.clear()
        error = typ if isinstance(typ, BaseException) else typ(*(() if val is None else (val,)))
        return self._items.throw(error.with_traceback(tb))

    def close(self) -> None:
        """End *items*."""
        self._items.close()


class Relay:
    """What `yield from` would do, for the asynchronous generator *items*.

    while await relay.step():
        try:
            relay.sent = yield relay.item
        except BaseException as error:
            relay.thrown = error
    """

    __slots__ = ("_items", "item", "sent", "thrown")

    def __init__(self, items: AsyncGenerator[Any, Any]) -> None:
        self._items = items
        self.item: Any = None
        self.sent: Any = None
        self.thrown: BaseException | None = None

    async def step(self) -> bool:
        """Whether there is another *item*, after what was sent or thrown."""
        thrown, self.thrown = self.thrown, None
        sent, self.sent = self.sent, None
        try:
            if thrown is None:
                self.item = await self._items.asend(sent)
            else:
                self.item = await self._items.athrow(thrown)
        except StopAsyncIteration:
            return False
        return True

    async def close(self) -> None:
        """End *items*, if they have not ended."""
        await self._items.aclose()

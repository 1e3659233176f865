"""A generator whose first item was taken already."""

from __future__ import annotations

from collections.abc import Generator
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

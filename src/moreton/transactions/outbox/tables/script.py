"""SQL written once, for whatever runs it.

A script yields statements and is sent their rows: synchronous and asynchronous connections, those
of Django and SQLAlchemy too, differ only in who drives it. Values are marked by `?`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

Rows: TypeAlias = list[tuple[Any, ...]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and its values."""

    sql: str
    values: Sequence[object] = ()


Batch: TypeAlias = Sequence[Statement]
"""Statements that need not wait for each other's rows: one trip to the server, if it can."""

Script: TypeAlias = Generator[Batch, list[Rows], T]


def drive(script: Script[T], execute: Callable[[Batch], list[Rows]]) -> T:
    """Run *script* by *execute*."""
    try:
        wanted = next(script)
        while True:
            wanted = script.send(execute(wanted))
    except StopIteration as done:
        result: T = done.value
        return result


async def drive_async(script: Script[T], execute: Callable[[Batch], Awaitable[list[Rows]]]) -> T:
    """Run *script* by *execute*."""
    try:
        wanted = next(script)
        while True:
            wanted = script.send(await execute(wanted))
    except StopIteration as done:
        result: T = done.value
        return result

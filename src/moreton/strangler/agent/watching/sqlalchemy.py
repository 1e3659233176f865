"""Sees all statements of SQLAlchemy, in threads and in tasks, by its own events."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from moreton.strangler.agent.recording import current, explained
from moreton.strangler.agent.watching.databases import unwatch
from moreton.strangler.agent.watching.pinning import install as install_pins
from moreton.strangler.agent.watching.pinning import is_pinned
from moreton.strangler.agent.watching.sql import note_sql


def install() -> None:
    """Watch all engines, those there are and those to come; once."""
    if not event.contains(Engine, "before_cursor_execute", _execute):
        event.listen(Engine, "before_cursor_execute", _execute)
        event.listen(Engine, "do_connect", _connect)
        event.listen(Engine, "connect", _connected)
        event.listen(Engine, "checkout", _checked_out)
        install_pins(Engine)


def _execute(connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:  # noqa: ARG001 - as SQLAlchemy calls it
    recording = current()
    if recording is not None:
        note_sql(recording, statement, values, is_taken_back=is_pinned(recording, connection))


def _connect(dialect: Any, record: Any, args: Any, options: Any) -> Any:  # noqa: ARG001 - as above
    """A pool connects when it has to: that is no effect of the request that waits for it."""
    with explained():
        return dialect.connect(*args, **options)


def _checked_out(connection: Any, record: Any, proxy: Any) -> None:  # noqa: ARG001 - as above
    unwatch(connection)  # it may have been there before us


def _connected(connection: Any, record: Any) -> None:  # noqa: ARG001 - as above
    unwatch(connection)

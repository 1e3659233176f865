"""Sees all statements of SQLAlchemy, in threads and in tasks, by its own events."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from moreton.strangler.agent.recording import current, explained
from moreton.strangler.agent.watching.databases import watch
from moreton.strangler.agent.watching.pinning import install as install_pins
from moreton.strangler.agent.watching.pinning import is_pinned
from moreton.strangler.agent.watching.sql import note_sql


def install() -> None:
    """Watch all engines, those there are and those to come; once."""
    if not event.contains(Engine, "before_cursor_execute", _execute):
        event.listen(Engine, "before_cursor_execute", _execute)
        event.listen(Engine, "do_connect", _connect)
        event.listen(Engine, "after_cursor_execute", _executed)
        event.listen(Engine, "handle_error", _executed)
        event.listen(Engine, "connect", _connected)
        install_pins(Engine)


def _execute(connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:  # noqa: ARG001 - as SQLAlchemy calls it
    recording = current()
    if recording is not None:
        note_sql(recording, statement, values, is_taken_back=is_pinned(recording, connection))
        recording.told = True


def _executed(*_: Any) -> None:
    recording = current()
    if recording is not None:
        recording.told = False


def _connect(dialect: Any, record: Any, args: Any, options: Any) -> Any:  # noqa: ARG001 - as above
    """A pool connects when it has to: that is no effect of the request that waits for it."""
    with explained():
        return dialect.connect(*args, **options)


def _connected(connection: Any, record: Any) -> None:  # noqa: ARG001 - as above
    watch(connection)  # for what is done past SQLAlchemy

"""Sees what Django does: statements on every connection, its caches, its mail."""

from __future__ import annotations

import functools
import re
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from django.utils.module_loading import import_string

from moreton.strangler.agent.core.effects import Kind, general
from moreton.strangler.agent.recording import Recording, current, explained, is_explained
from moreton.strangler.agent.watching.blocking import block
from moreton.strangler.agent.watching.patching import around
from moreton.strangler.agent.watching.sql import note_sql, plain

_WRITES = ("set", "add", "touch", "delete", "clear", "incr", "decr", "set_many", "delete_many")
_WORD = re.compile(r"[A-Za-z]{24,}")  # a random key


def install() -> None:
    """Watch all databases, caches and the mail of this process, those to come as well."""
    connection_created.connect(_watch, dispatch_uid="moreton.strangler.agent")
    for connection in connections.all(initialized_only=True):
        _watch(connection=connection)
    around(CursorWrapper, "callproc", _call_procedure)
    for alias in settings.CACHES:
        for owner in type(caches[alias]).__mro__[:-1]:
            for name in _WRITES:
                around(owner, name, _cache)
    backend = import_string(settings.EMAIL_BACKEND)
    for owner in backend.__mro__[:-1]:
        around(owner, "send_messages", _mail)


def _watch(*, connection: Any, **_: Any) -> None:
    if _execute not in connection.execute_wrappers:
        # The innermost, so that what other wrappers do is seen as well.
        connection.execute_wrappers.append(_execute)


def _execute(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
    recording = current()
    if recording is None or is_explained():
        return execute(sql, params, many, context)
    taken_back = id(context["connection"]) in recording.taken_back
    note_sql(recording, sql, params, is_taken_back=taken_back)
    with explained():
        return execute(sql, params, many, context)


def _call_procedure(method: Any, cursor: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    recording = current()
    if recording is not None:
        recording.note(Kind.SQL, f"CALL {name}()")
        block(recording, Kind.SQL, f"CALL {name}()")
    return method(cursor, name, *args, **kwargs)


def _cache(method: Any, cache: Any, *args: Any, **kwargs: Any) -> Any:
    recording = current()
    if recording is None or is_explained():
        return method(cache, *args, **kwargs)
    key = args[0] if args else kwargs.get("key", "")
    keys = [key] if isinstance(key, str) else sorted(map(str, key or ()))[:5]
    name = " ".join(_WORD.sub("#", general(one)) for one in keys)
    what = f"{method.__name__} {name}".strip()
    recording.note(Kind.CACHE, what)
    recording.write(f"cache {what}")
    if recording.dry:
        return _PRETENDED.get(method.__name__)
    with explained():
        return method(cache, *args, **kwargs)


def _mail(method: Any, backend: Any, messages: Any) -> Any:
    recording = current()
    if recording is None:
        return method(backend, messages)
    messages = list(messages or ())
    for message in messages:
        recording.note(Kind.MAIL, "send", general(str(message.subject)))
        recording.write(
            "mail send", plain({"to": message.recipients(), "subject": message.subject})
        )
    if recording.dry:
        return len(messages)
    with explained():
        return method(backend, messages)


# What a cache answers that took it; a dry run's counters do not count.
_PRETENDED = {"add": True, "touch": True, "delete": True, "set_many": [], "incr": 1, "decr": 0}


def take_back(recording: Recording) -> None:
    """From now on what *recording*'s request does to any database is rolled back at its end.

    To be called, and undone, in the thread in which the request is served.
    """
    for alias in connections:
        atomic = transaction.atomic(using=alias)
        # As in a test: what asks for a transaction of its own gets a part of this one.
        atomic._from_testcase = True  # noqa: SLF001 - Django's tests have no other way either
        atomic.__enter__()
        recording.taken_back[id(connections[alias])] = connections[alias]
        recording.undo.append(functools.partial(_undo, atomic, alias))


def run_committed() -> None:
    """Do what waits for the commit that a dry run never sees."""
    for connection in connections.all(initialized_only=True):
        waiting, connection.run_on_commit = connection.run_on_commit, []
        for _, work, _ in waiting:
            work()


def _undo(atomic: Any, alias: str) -> None:
    transaction.set_rollback(True, using=alias)
    atomic.__exit__(None, None, None)

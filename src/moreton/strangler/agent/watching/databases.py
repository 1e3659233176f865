"""Sees statements that go to a driver without Django or SQLAlchemy: sqlite3, psycopg, Redis."""

from __future__ import annotations

import functools
import gc
import importlib
import sqlite3
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from moreton.strangler.agent.core.effects import Kind, general
from moreton.strangler.agent.core.lists import words
from moreton.strangler.agent.recording import current, explained, is_explained
from moreton.strangler.agent.watching.blocking import Blocked, note
from moreton.strangler.agent.watching.patching import around
from moreton.strangler.agent.watching.sql import note_sql

# Commands of Redis that leave everything as it was.
_REDIS_READS = words(
    """
    auth bitcount bitpos client command config dbsize dump echo exists expiretime geodist geohash
    geopos georadius_ro get getbit getrange hello hexists hget hgetall hkeys hlen hmget hrandfield
    hscan hstrlen hvals info keys lastsave lindex llen lolwut lpos lrange memory mget object
    pexpiretime pfcount ping psubscribe pttl pubsub quit randomkey role scan scard sdiff select
    sinter sintercard sismember slowlog smembers smismember srandmember sscan strlen subscribe
    substr sunion time touch ttl type unsubscribe unwatch wait watch xinfo xlen xpending xrange
    xread xrevrange zcard zcount zdiff zinter zlexcount zmscore zrandmember zrange zrangebylex
    zrangebyscore zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion
    """
)
_watched: set[str] = set()
_FACTORY_PLACE = 6  # among the arguments of `sqlite3.connect`, from 1
_connecting = threading.local()


class WatchedConnection(sqlite3.Connection):
    """As sqlite3's own, which nothing can refer to weakly."""


def install_sqlite() -> None:
    """Watch connections of sqlite3: those there are, and those made by `sqlite3.connect`."""
    modules: tuple[Any, ...] = (sqlite3, sqlite3.dbapi2)
    if getattr(sqlite3.connect, "is_watched_by_moreton", False):
        return
    for module in modules:
        module.connect = _watched_connect(module.connect)
    for one in gc.get_objects():
        if isinstance(one, sqlite3.Connection):
            with suppress(sqlite3.Error):  # closed, or of another thread that minds
                one.set_trace_callback(_trace(one))


def _watched_connect(connect: Any) -> Any:
    @functools.wraps(connect)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if len(args) < _FACTORY_PLACE:
            kwargs.setdefault("factory", WatchedConnection)
        _connecting.here = True
        try:
            connection = connect(*args, **kwargs)
        finally:
            _connecting.here = False
        if not is_explained():
            connection.set_trace_callback(_trace(connection))
        return connection

    watched.is_watched_by_moreton = True  # type: ignore[attr-defined]
    return watched


def note_unwatched(database: object) -> None:
    """A connection of sqlite3 is made past us, by a name that was taken before: nobody sees it."""
    if not getattr(_connecting, "here", False):
        note(Kind.SQL, f"unseen, in {general(str(database))}")


def watch(connection: Any) -> None:
    """Watch a *connection* that was made as a part of something else, if it is one of sqlite3."""
    if isinstance(connection, sqlite3.Connection):
        connection.set_trace_callback(_trace(connection))


def install_loaded() -> None:
    """Watch the drivers that were loaded meanwhile; cheap enough to be asked for each request."""
    for module, install in _DRIVERS.items():
        if module in sys.modules and module not in _watched:
            _watched.add(module)
            install(sys.modules[module])


def _trace(connection: sqlite3.Connection) -> Any:
    try:
        watched: Callable[[], sqlite3.Connection | None] = weakref.ref(connection)
    except TypeError:  # of sqlite3's own class: it was there before us, and will stay

        def watched() -> sqlite3.Connection | None:
            return connection

    def trace(sql: str) -> None:
        recording = current()
        if recording is None or recording.told or is_explained():
            return
        try:
            note_sql(recording, sql)
        except Blocked:
            # An exception from here goes nowhere; what is interrupted now has done nothing yet.
            open_connection = watched()
            if open_connection is not None:
                open_connection.interrupt()

    return trace


def _psycopg(module: Any) -> None:
    for name in ("Cursor", "AsyncCursor", "ClientCursor", "AsyncClientCursor"):
        for method in ("execute", "executemany", "stream", "copy"):
            around(getattr(module, name), method, _execute)


def _execute(method: Any, cursor: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
    recording = current()
    if recording is not None and not recording.told and not is_explained():
        note_sql(recording, query)
    return method(cursor, query, *args, **kwargs)


def _redis(module: Any) -> None:
    asynchronous = sys.modules.get("redis.asyncio")
    for owner in (module, asynchronous):
        if owner is None:
            continue
        around(owner.Redis, "execute_command", _command)
        around(owner.client.Pipeline, "execute", _pipeline)


def _command(method: Any, client: Any, *args: Any, **kwargs: Any) -> Any:
    if current() is not None and not is_explained():
        _note_redis(args)
    with explained():
        return method(client, *args, **kwargs)


def _pipeline(method: Any, pipeline: Any, *args: Any, **kwargs: Any) -> Any:
    if current() is not None and not is_explained():
        for command in getattr(pipeline, "command_stack", ()):
            _note_redis(command[0])
    with explained():
        return method(pipeline, *args, **kwargs)


def _note_redis(args: Any) -> None:
    name = str(args[0]).lower().partition(" ")[0] if args else "?"
    if name not in _REDIS_READS:
        key = args[1] if len(args) > 1 else ""
        key = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
        note(Kind.CACHE, f"redis {name.upper()} {general(key)}")


def _sqlalchemy(_: Any) -> None:
    importlib.import_module("moreton.strangler.agent.watching.sqlalchemy").install()


_DRIVERS = {"psycopg": _psycopg, "redis": _redis, "sqlalchemy": _sqlalchemy}

"""Sees statements that go to a driver without Django or SQLAlchemy: sqlite3, psycopg, Redis."""

from __future__ import annotations

import functools
import importlib
import sqlite3
import sys
from typing import Any

from moreton.strangler.agent.core.effects import Kind, general
from moreton.strangler.agent.core.lists import words
from moreton.strangler.agent.recording import current, explained, is_explained
from moreton.strangler.agent.watching.blocking import block, note
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


def install_sqlite() -> None:
    """Watch connections of sqlite3 that are made from now on, by `sqlite3.connect`."""
    modules: tuple[Any, ...] = (sqlite3, sqlite3.dbapi2)
    for module in modules:
        connect = module.connect
        if not getattr(connect, "is_watched_by_moreton", False):
            module.connect = _watched_connect(connect)


def _watched_connect(connect: Any) -> Any:
    @functools.wraps(connect)
    def watched(*args: Any, **kwargs: Any) -> Any:
        connection = connect(*args, **kwargs)
        if not is_explained():
            connection.set_trace_callback(_sqlite)
        return connection

    watched.is_watched_by_moreton = True  # type: ignore[attr-defined]
    return watched


def unwatch(connection: Any) -> None:
    """*connection* of sqlite3 is watched from above already."""
    release = getattr(connection, "set_trace_callback", None)
    if callable(release):
        release(None)


def install_loaded() -> None:
    """Watch the drivers that were loaded meanwhile; cheap enough to be asked for each request."""
    for module, install in _DRIVERS.items():
        if module in sys.modules and module not in _watched:
            _watched.add(module)
            install(sys.modules[module])


def _sqlite(sql: str) -> None:
    recording = current()
    if recording is None or is_explained():
        return
    if note_sql(recording, sql) and recording.dry:
        # An exception here would go nowhere; the answer says that the run was not dry.
        recording.blocked.append("sql of a connection that nobody rolls back")


def _psycopg(module: Any) -> None:
    for name in ("Cursor", "AsyncCursor", "ClientCursor", "AsyncClientCursor"):
        for method in ("execute", "executemany", "stream", "copy"):
            around(getattr(module, name), method, _execute)


def _execute(method: Any, cursor: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
    recording = current()
    if recording is not None and not is_explained() and note_sql(recording, query):
        block(recording, Kind.SQL, "of a connection that nobody rolls back")
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

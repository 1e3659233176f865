"""Connections to Redis that give up in time and ask nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from redis import ConnectionPool, Redis, RedisCluster
from redis import asyncio as aio
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

from moreton.kernel.errors import shown_address
from moreton.ratelimit.redis.async_line import AsyncLine, NoTransport
from moreton.ratelimit.redis.lines import Lines
from moreton.ratelimit.redis.wire import (
    VERSION_MIN,
    Arguments,
    Key,
    Script,
    evalsha,
    evaluate,
    info_of_server,
    is_too_old,
)

CLUSTER = "redis+cluster"
_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix", CLUSTER)
# A connection is waited for and made, it says hello, and it is asked: a quarter for each.
_STEPS = 4
# Of one loop by redis-py's own client: tasks beyond that wait for one another.
CONNECTIONS_MAX = 16


class Clients:
    """For threads, and for every loop; made when they are first used."""

    def __init__(self, url: str, budget: float) -> None:
        scheme = urlsplit(url).scheme
        if scheme not in _SCHEMES:
            raise ValueError(
                f"{shown_address(url)} is no address of a Redis: write redis://127.0.0.1:6379/0, "
                f"rediss://…, unix:///path, or {CLUSTER}://… for a cluster"
            )
        self.is_cluster = scheme == CLUSTER
        self._url = url.replace("valkey", "redis", 1).replace(CLUSTER, "redis", 1)
        self._step = budget / _STEPS
        self._lines: Lines | None = None
        self._cluster: Any = None
        self._async_lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncLine] = (
            weakref.WeakKeyDictionary()
        )
        self._async_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = (
            weakref.WeakKeyDictionary()
        )
        self._has_transport = not self.is_cluster

    def run(self, script: Script, keys: Sequence[Key], arguments: Arguments) -> Any:
        """What *script* answers; raises what redis raises."""
        if self.is_cluster:
            cluster = self._cluster
            if cluster is None:
                cluster = self._cluster = self._make(RedisCluster, Retry(NoBackoff(), 0))
            try:
                return cluster.evalsha(script.digest, len(keys), *keys, *arguments.values)
            except NoScriptError:
                return cluster.eval(script.text, len(keys), *keys, *arguments.values)
        lines = self._lines
        if lines is None:
            # All threads that come first get the same.
            made = Lines(self._make(ConnectionPool, Retry(NoBackoff(), 0)))
            lines = self._lines = self._lines or made
        try:
            return lines.ask(evalsha(script, keys, arguments))
        except NoScriptError:
            pass
        try:
            return lines.ask(evaluate(script, keys, arguments))
        except ResponseError as error:
            raise _explained(error, lines.ask(info_of_server())) from error

    async def run_async(self, script: Script, keys: Sequence[Key], arguments: Arguments) -> Any:
        """As `run`; raises `TimeoutError` when all connections are busy for too long, too."""
        loop = asyncio.get_running_loop()
        if not self._has_transport:
            return await self._run_by_client(loop, script, keys, arguments)
        line = self._async_lines.get(loop)
        if line is None:
            self._forget_ended_loops()
            pool = self._make(aio.ConnectionPool, aio.retry.Retry(NoBackoff(), 0))
            line = self._async_lines[loop] = AsyncLine(pool, self._step)
        try:
            return await line.ask(evalsha(script, keys, arguments))
        except NoTransport:
            self._has_transport = False  # nothing was asked yet
            return await self._run_by_client(loop, script, keys, arguments)
        except NoScriptError:
            pass
        try:
            return await line.ask(evaluate(script, keys, arguments))
        except ResponseError as error:
            raise _explained(error, await line.ask(info_of_server())) from error

    def delete(self, keys: Sequence[Key]) -> None:
        """Delete *keys*."""
        client = self._make(RedisCluster if self.is_cluster else Redis, Retry(NoBackoff(), 0))
        with contextlib.closing(client):
            for key in keys:
                client.delete(key)

    def close(self) -> None:
        """Close the connections of threads."""
        lines, self._lines = self._lines, None
        if lines is not None:
            lines.close()
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        loop = asyncio.get_running_loop()
        line = self._async_lines.pop(loop, None)
        if line is not None:
            await line.aclose()
        client, _ = self._async_clients.pop(loop, (None, None))
        if client is not None:
            await client.aclose()

    async def _run_by_client(
        self,
        loop: asyncio.AbstractEventLoop,
        script: Script,
        keys: Sequence[Key],
        arguments: Arguments,
    ) -> Any:
        found = self._async_clients.get(loop)
        if found is None:
            self._forget_ended_loops()
            kind = aio.RedisCluster if self.is_cluster else aio.Redis
            client = self._make(kind, aio.retry.Retry(NoBackoff(), 0))
            found = self._async_clients[loop] = client, asyncio.Semaphore(CONNECTIONS_MAX)
        client, places = found
        async with asyncio.timeout(self._step):
            await places.acquire()
        try:
            # Not within a time limit of ours: a connection that is being made is not to be dropped.
            return await client.evalsha(script.digest, len(keys), *keys, *arguments.values)
        except NoScriptError:
            return await client.eval(script.text, len(keys), *keys, *arguments.values)
        finally:
            places.release()

    def _forget_ended_loops(self) -> None:
        """What belonged to a loop that has ended holds it, so that it would stay for good."""
        known: tuple[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any], ...] = (
            self._async_lines,
            self._async_clients,
        )
        for lines in known:
            for loop in [one for one in lines if one.is_closed()]:
                lines.pop(loop, None)

    def _make(self, kind: Any, retry: Any) -> Any:
        """A client, or what makes connections, of *kind*; nothing is connected yet."""
        return kind.from_url(
            self._url,
            socket_timeout=self._step,
            socket_connect_timeout=self._step,
            retry=retry,
            # Of the third version nothing is used, and it begins with one question more.
            protocol=2,
        )


def _explained(error: ResponseError, info: bytes) -> ResponseError:
    """*error* of a script that the server sees for the first time, by what it says of itself."""
    version = is_too_old(info)
    if not version:
        return error
    least = ".".join(map(str, VERSION_MIN))
    return ResponseError(f"Redis {version} is too old, {least} or later is needed: {error}")

"""Connections to Redis that give up in time and ask nothing twice."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisCluster
from redis import asyncio as aio
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

from moreton.ratelimit.redis.script import Script

CLUSTER = "redis+cluster"
_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix", CLUSTER)
# A connection is waited for and made, it says hello, and it is asked: a quarter for each.
_STEPS = 4
# Of one loop: tasks beyond that wait for one another.
CONNECTIONS_MAX = 16


class Clients:
    """For threads one client, and one for every loop; made when they are first used."""

    def __init__(self, url: str, budget: float) -> None:
        scheme = urlsplit(url).scheme
        if scheme not in _SCHEMES:
            raise ValueError(
                f"{url!r} is no address of a Redis: write redis://127.0.0.1:6379/0, rediss://…, "
                f"unix:///path, or {CLUSTER}://… for a cluster"
            )
        self.is_cluster = scheme == CLUSTER
        self._url = url.replace("valkey", "redis", 1).replace(CLUSTER, "redis", 1)
        self._step = budget / _STEPS
        self._sync: Any = None
        self._async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = (
            weakref.WeakKeyDictionary()
        )

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """What *script* answers; raises what redis raises."""
        client = self._sync
        if client is None:
            client = self._sync = self._make(Redis, RedisCluster, Retry(NoBackoff(), 0))
        if self.is_cluster:
            try:
                return client.evalsha(script.digest, len(keys), *keys, *arguments)
            except NoScriptError:
                return client.eval(script.text, len(keys), *keys, *arguments)
        # Its connection without its client, which takes longer than the server does.
        pool = client.connection_pool
        connection = pool.get_connection()
        try:
            return _ask(connection, script, keys, arguments)
        except ResponseError:
            raise
        except BaseException:
            # An answer that is still to come would be taken for that to the next question.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)

    async def run_async(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """As `run`; raises `TimeoutError` when all connections are busy for too long, too."""
        loop = asyncio.get_running_loop()
        found = self._async.get(loop)
        if found is None:
            client = self._make(aio.Redis, aio.RedisCluster, aio.retry.Retry(NoBackoff(), 0))
            found = self._async[loop] = client, asyncio.Semaphore(CONNECTIONS_MAX)
        client, places = found
        async with asyncio.timeout(self._step):
            await places.acquire()
        try:
            # Not within a time limit of ours: a connection that is being made is not to be dropped.
            return await client.evalsha(script.digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.eval(script.text, len(keys), *keys, *arguments)
        finally:
            places.release()

    def delete(self, keys: Sequence[str]) -> None:
        """Delete *keys*."""
        client = self._sync or self._make(Redis, RedisCluster, Retry(NoBackoff(), 0))
        self._sync = client
        for key in keys:
            client.delete(key)

    def close(self) -> None:
        """Close the connections of threads."""
        client, self._sync = self._sync, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        client, _ = self._async.pop(asyncio.get_running_loop(), (None, None))
        if client is not None:
            await client.aclose()

    def _make(self, single: Any, cluster: Any, retry: Any) -> Any:
        kind = cluster if self.is_cluster else single
        return kind.from_url(
            self._url, socket_timeout=self._step, socket_connect_timeout=self._step, retry=retry
        )


def _ask(connection: Any, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
    connection.send_command("EVALSHA", script.digest, len(keys), *keys, *arguments)
    try:
        return connection.read_response()
    except NoScriptError:
        connection.send_command("EVAL", script.text, len(keys), *keys, *arguments)
        return connection.read_response()

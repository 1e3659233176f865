"""Connections of threads to one Redis: each is one thread's at a time, the last one used first.

redis-py makes them, with all that a URL can say; its client is left out, which takes longer than
the server does.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from typing import Any

from redis import RedisError
from redis.exceptions import ResponseError

# One that rested so long is looked at first: the server may have closed it.
_FRESH_NANOS = 50_000_000


class Lines:
    """Asks one question at a time on each connection; raises what redis-py raises."""

    def __init__(self, pool: Any) -> None:
        """*pool* is a `redis.ConnectionPool`; only what makes its connections is used."""
        self._pool = pool
        self._pid = os.getpid()
        self._idle: deque[tuple[Any, int]] = deque()

    def ask(self, command: bytes) -> Any:
        """The answer to *command*; not asked twice, whatever happens."""
        connection = self._take()
        try:
            connection.send_packed_command([command], check_health=False)
            answer = connection.read_response()
        except ResponseError:
            self._idle.append((connection, time.monotonic_ns()))
            raise
        except BaseException:
            # An answer that is still to come would be taken for that to the next question.
            connection.disconnect()
            raise
        self._idle.append((connection, time.monotonic_ns()))
        return answer

    def close(self) -> None:
        """Close those that rest."""
        while True:
            try:
                connection, _ = self._idle.pop()
            except IndexError:
                return
            connection.disconnect()

    def _take(self) -> Any:
        if self._pid != os.getpid():
            # What a child has of its parent's connections is for nobody to use, or to shut down.
            self._pid, self._idle = os.getpid(), deque()
        try:
            connection, since = self._idle.pop()
        except IndexError:
            return self._pool.make_connection()
        if time.monotonic_ns() - since > _FRESH_NANOS and _has_ended(connection):
            connection.disconnect()
        return connection


def _has_ended(connection: Any) -> bool:
    """Whether the server closed it, or said something unasked."""
    with contextlib.suppress(RedisError, OSError):
        return bool(connection.can_read(0))
    return True

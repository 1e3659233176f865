"""Ending a connection without an answer, as far as the server lets an application do that.

No server has a word for it in WSGI or ASGI. Some show their socket in the WSGI environment; of ASGI
servers the transport is found behind the `send` that they hand over, however many middlewares wrap
it. Where neither is there the caller answers with nothing and asks for the connection to be closed.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

# gunicorn (its sync, gthread, gevent and eventlet workers), and werkzeug's development server.
_SOCKETS = ("gunicorn.socket", "werkzeug.socket")
# How many callables and objects are looked at behind `send`; a stack of middlewares has tens.
_LOOKS_MAX = 100
# The rest of the request may be heard before the end of the connection.
_MESSAGES_MAX = 100
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


def drop_wsgi(environ: Mapping[str, Any]) -> bool:
    """End the connection of *environ*; whether its server lets that be.

    What is answered then reaches nobody.
    """
    for name in _SOCKETS:
        found = environ.get(name)
        if found is not None:
            # The server closes it when the request is over; here only nothing passes any more.
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
            return True
    return False


async def drop_asgi(receive: Receive, send: Send) -> bool:
    """End the connection of *send*; whether its server lets that be.

    Then nothing may be answered. It returns when the server knows.
    """
    transport = _transport_behind(send)
    if transport is None:
        return False
    transport.abort()
    for _ in range(_MESSAGES_MAX):
        message = await receive()
        if message["type"].endswith(".disconnect"):
            break
    return True


def _transport_behind(send: Send) -> Any:
    looked: set[int] = set()
    coming: deque[Any] = deque([send])
    while coming and len(looked) < _LOOKS_MAX:
        one = coming.popleft()
        if id(one) in looked:
            continue
        looked.add(id(one))
        transport = getattr(one, "transport", None)
        # Those of uvloop are of no class of asyncio's.
        if callable(getattr(transport, "abort", None)):
            return transport
        coming.extend(_behind(one))
    return None


def _behind(one: Any) -> Iterator[Any]:
    """What a method is bound to, what a function has around it, and what an object sends by."""
    if isinstance(one, functools.partial):
        yield one.func
        yield from one.args
    bound = getattr(one, "__self__", None)
    if bound is not None:
        yield bound
    for cell in getattr(one, "__closure__", None) or ():
        # Of one that was never set, or deleted, reading fails.
        with contextlib.suppress(ValueError):
            yield cell.cell_contents
    if not callable(one):
        # Of hypercorn: a stream sends by its protocol, that by its server, and that has a writer.
        for name in ("send", "writer"):
            found = getattr(one, name, None)
            if found is not None:
                yield found

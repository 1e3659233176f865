"""Sees HTTP by clients that keep connections of their own, and work that is handed to others."""

from __future__ import annotations

import sys
from typing import Any

from moreton.strangler.agent.core.effects import Kind
from moreton.strangler.agent.core.lists import words
from moreton.strangler.agent.recording import current, explained, is_explained
from moreton.strangler.agent.watching.blocking import Blocked, note
from moreton.strangler.agent.watching.patching import around

# What they do leaves by C, or by connections that are kept: nothing of it is seen.
UNSEEN = words(
    """
    grpc pycurl confluent_kafka kafka aiokafka pika aio_pika nats pymongo motor asyncpg aiomysql
    cassandra pymemcache pylibmc zmq ldap ldap3 paho
    """
)
_watched: set[str] = set()


def install_loaded() -> None:
    """Watch the clients that were loaded meanwhile."""
    for module, install in _CLIENTS.items():
        if module in sys.modules and module not in _watched:
            _watched.add(module)
            install(sys.modules[module])


def unseen() -> list[str]:
    """Loaded modules that could have effects which nobody here sees."""
    return sorted(name for name in UNSEEN if name in sys.modules)


def _httpx(module: Any) -> None:
    around(module.Client, "send", _send)
    around(module.AsyncClient, "send", _send_async)


def _send(method: Any, client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
    _note_httpx(client, request)
    with explained():
        return method(client, request, *args, **kwargs)


async def _send_async(method: Any, client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
    _note_httpx(client, request)
    with explained():
        return await method(client, request, *args, **kwargs)


def _note_httpx(client: Any, request: Any) -> None:
    try:
        _note_request(request.method, request.url.host, request.url.path)
    except Blocked as error:  # to an application, as the outage that it is prepared for
        module = next(
            sys.modules[one.__module__.partition(".")[0]]
            for one in type(client).__mro__
            if one.__module__.startswith("httpx")
        )
        raise module.ConnectError(str(error), request=request) from error


def _aiohttp(module: Any) -> None:
    around(module.ClientSession, "_request", _request)


async def _request(
    method: Any, session: Any, verb: Any, url: Any, *args: Any, **kwargs: Any
) -> Any:
    whole = str(url).partition("?")[0]
    _, _, rest = whole.partition("://")
    host, _, path = rest.partition("/")
    _note_request(str(verb), host.rpartition("@")[2] or "?", f"/{path}")
    with explained():
        return await method(session, verb, url, *args, **kwargs)


def _note_request(method: str, host: str, path: str) -> None:
    if current() is not None and not is_explained():
        note(Kind.HTTP, f"{method.upper()} {host}", f"{method.upper()} {host}{path}")


def _celery(module: Any) -> None:
    around(module.Task, "apply_async", _apply_async)


def _apply_async(method: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
    if current() is not None and not is_explained():
        note(Kind.TASK, f"celery {task.name}")
    with explained():
        return method(task, *args, **kwargs)


_CLIENTS = {"httpx": _httpx, "httpx2": _httpx, "aiohttp": _aiohttp, "celery": _celery}

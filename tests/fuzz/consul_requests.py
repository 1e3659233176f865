"""What strangers may send to Consul's API.

The first byte says what the rest is: a body, a part of a URL, or a whole request to the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from moreton.registry.consul.core.definitions import read_check, read_service
from moreton.registry.consul.core.durations import format_duration, parse_duration
from moreton.registry.consul.core.fields import Fields, read_json
from moreton.registry.consul.core.filters import parse_filter
from moreton.registry.consul.core.keys.sessions import read_session
from moreton.registry.consul.core.keys.transactions import read_transaction
from moreton.registry.consul.core.probes import to_check
from moreton.registry.consul.core.queries import parse_options, parse_parameters
from moreton.registry.consul.core.refusals import ConsulRequestRefused
from moreton.registry.errors import InstanceNotValid
from unit.registry.consul.asking import Consul, serving

METHODS = ("GET", "PUT", "DELETE", "POST", "HEAD")
SERVICE = {"Name": "orders", "ID": "one", "Port": 80, "Address": "127.0.0.1", "Tags": ["blue"]}
CHECK = {"CheckID": "c", "HTTP": "http://127.0.0.1:80/x", "Interval": "10s", "Timeout": "1s"}
KV = {"KV": {"Verb": "set", "Key": "a", "Value": "Zmln", "Flags": 1, "Session": "s"}}
BODIES = (
    {**SERVICE, "Check": CHECK, "Weights": {"Passing": 1}, "Meta": {"a": "b"}},
    {**CHECK, "ServiceID": "one", "Header": {"x": ["y"]}},
    {"TTL": "10s", "LockDelay": "15s", "Behavior": "delete", "ServiceChecks": [{"ID": "c"}]},
    [KV, {"KV": {"Verb": "get-tree", "Key": ""}}],
)
PATHS = (
    "GET /v1/health/service/orders?passing=1&tag=blue&index=1&wait=1ms&filter=Service.ID==one",
    "GET /v1/catalog/services?stale&node-meta=a:b&dc=dc1&near=_agent",
    "GET /v1/kv/a?recurse&keys&separator=/&raw",
    "PUT /v1/kv/a?cas=0&flags=1&acquire=s",
    "DELETE /v1/kv/a?recurse",
    "PUT /v1/session/create",
    "PUT /v1/txn",
    "PUT /v1/agent/service/register?replace-existing-checks",
    "PUT /v1/agent/check/pass/service:one?note=x",
    "PUT /v1/agent/service/maintenance/one?enable=true&reason=x",
    "GET /v1/agent/health/service/name/orders?format=text",
)


def seeds() -> list[bytes]:
    """Valid inputs, to begin from."""
    bodies = [json.dumps(body).encode() for body in BODIES]
    texts = [b"1h30m", b'ServiceMeta.a == "b" and not (x in ServiceTags)', b"index=1&wait=5s&stale"]
    requests = [path.encode() + b"\n" + body for path in PATHS for body in (b"", bodies[0])]
    requests += [b"PUT /v1/txn\n" + bodies[3], b"PUT /v1/session/create\n" + bodies[2]]
    return [
        *(bytes([number]) + body for number, body in enumerate(bodies)),
        *(bytes([4 + number]) + text for number, text in enumerate(texts)),
        *(b"\7" + request for request in requests),
    ]


def service(data: bytes) -> None:
    for check in read_service(read_json(data)).checks:
        to_check(check)


def duration(data: bytes) -> None:
    try:
        nanos = parse_duration(data.decode("utf-8", "replace"))
    except ValueError:
        return
    assert parse_duration(format_duration(nanos)) == nanos


PARSERS: tuple[Callable[[bytes], object], ...] = (
    service,
    lambda data: to_check(read_check(Fields(read_json(data), "the check"))),
    lambda data: read_session(read_json(data), session_id="s", node="moreton"),
    lambda data: read_transaction(read_json(data)),
    duration,
    lambda data: parse_filter(data.decode("utf-8", "replace"))({"Service": {"Tags": ["x"]}}),
    lambda data: parse_options(parse_parameters(data)),
)


class Target:
    """Takes inputs; keeps one API, on its own loop, for those that are requests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._serving = serving()
        self._consul: Consul = self._loop.run_until_complete(self._serving.__aenter__())
        self._asked = 0

    def close(self) -> None:
        self._loop.run_until_complete(self._serving.__aexit__(None, None, None))
        self._loop.close()

    def __call__(self, data: bytes) -> None:
        """Raises for whatever must not be."""
        if not data:
            return
        kind, rest = data[0] % (len(PARSERS) + 1), data[1:]
        if kind == len(PARSERS):
            self._loop.run_until_complete(self._request(rest))
            return
        with contextlib.suppress(ConsulRequestRefused, InstanceNotValid):
            PARSERS[kind](rest)

    async def _request(self, data: bytes) -> None:
        line, _, body = data.partition(b"\n")
        method, _, target = line.partition(b" ")
        path, _, query = target.partition(b"?")
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "method": method.decode("latin-1") if method in map(str.encode, METHODS) else "GET",
            "path": path.decode("utf-8", "replace"),
            "query_string": query,
            "headers": [(b"x-consul-token", b"made-up")],
        }
        told: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            told.append(message)

        await self._consul.api.app(scope, _receiver(body), send)
        if not told:
            return  # it waited, and the client had hung up
        start, answer = told
        assert 200 <= start["status"] < 600
        assert b"moreton itself failed" not in answer["body"], answer["body"]
        headers = dict(start["headers"])
        assert int(headers.get(b"x-consul-index", b"1")) >= 1
        is_json = headers.get(b"content-type") == b"application/json" and answer["body"]
        if is_json and b"recurse" not in query:
            json.loads(answer["body"])
        await self._forget()

    async def _forget(self) -> None:
        """What was written must not add up over millions of inputs."""
        self._asked += 1
        if self._asked % 500 == 0:
            await self._consul.store.delete(b"/moreton/", b"/moreton0")
            await self._consul.api.settle()


def _receiver(body: bytes) -> Callable[[], Awaitable[MutableMapping[str, Any]]]:
    coming: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body}]

    async def receive() -> MutableMapping[str, Any]:
        return coming.pop() if coming else {"type": "http.disconnect"}

    return receive

"""A real Envoy in front of two services, which asks a rate limit service about each request."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.header_to_metadata.v3 import header_to_metadata_pb2
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import json_format

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.wire import content_hash, serialize
from moreton.ratelimit.rls import RateLimitServer, RateLimitService
from moreton.ratelimit.rls.imports import load
from moreton.ratelimit.rls.stores import LocalStore
from support.manual_clock import ManualClock
from support.static_envoy import StaticEnvoy, static_envoy
from support.waits import join_all

_LOADED = (  # JSON names their messages
    fault_pb2, header_mutation_pb2, header_to_metadata_pb2, http_connection_manager_pb2,
    http_protocol_options_pb2, rate_limit_pb2, router_pb2,
)  # fmt: skip
_TYPES = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{_TYPES}.filters.http"
ResultT = TypeVar("ResultT")


def _filter(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_FILTERS}.{kind}", **settings}}


def _header(name: str) -> dict[str, Any]:
    return {"request_headers": {"header_name": name, "descriptor_key": name}}


def _key(value: str, cost: int | None = None, *, done: bool = False) -> dict[str, Any]:
    generic = {"descriptor_key": "bucket", "descriptor_value": value}
    return _costing({"actions": [{"generic_key": generic}]}, cost, done=done)


def _costing(limit: dict[str, Any], cost: int | None, *, done: bool = False) -> dict[str, Any]:
    if cost is not None:
        limit["hits_addend"] = {"number": cost}
    return {**limit, "apply_on_stream_done": True} if done else limit


def _by(*groups: str) -> list[dict[str, Any]]:
    return [{"actions": [_header(name) for name in group.split()]} for group in groups]


def _route(path: str, limits: list[dict[str, Any]], to: str = "one") -> dict[str, Any]:
    return {"match": {"path": path}, "route": {"cluster": to, "rate_limits": limits}}


def _route_with_costs(path: str, limits: list[dict[str, Any]], to: str = "one") -> dict[str, Any]:
    own = {"@type": f"{_FILTERS}.ratelimit.v3.RateLimitPerRoute", "rate_limits": limits}
    return {
        "match": {"path": path},
        "route": {"cluster": to},
        "typed_per_filter_config": {"envoy.filters.http.ratelimit": own},
    }


_LOCALITY = {
    "metadata": {
        "descriptor_key": "bucket",
        "source": 3,  # CLUSTER_LOCALITY_ENTRY, younger than the generated messages
        "metadata_key": {"key": "place", "path": [{"key": "bucket"}]},
    }
}
ROUTES = [
    _route("/one", _by("plan")),
    _route("/two", _by("plan tool", "plan place")),
    _route("/four", _by("plan tool", "team project")),
    _route("/five", _by("plan tool", "team project", "kind")),
    _route("/each", _by("each")),
    _route("/wild", _by("file", "image")),
    _route_with_costs("/quota", [_key("small"), _key("large")]),
    _route_with_costs("/tokens", [_key("large", 0), _key("large", 1, done=True)]),
    _route_with_costs(
        "/places",
        [
            _key("small", 0),
            _key("large", 0),
            _costing({"actions": [_LOCALITY]}, 1, done=True),
        ],
        "places",
    ),
]


def _listener(name: str, routes: list[Any], filters: list[Any]) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": routes}]},
        "http_filters": [*filters, _filter("router", "router.v3.Router")],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


_FAULT = {"header_delay": {}, "percentage": {"numerator": 100}}


def filters(*, deny: bool = False, timeout: str = "5s") -> list[dict[str, Any]]:
    """What a proxy needs: no delay that a client wrote, the service, its delays, its metadata."""
    service = {"grpc_service": {"envoy_grpc": {"cluster_name": "limits"}}}
    bucket = "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:metadata:bucket:name)%"
    append = {"header": {"key": "x-bucket", "value": bucket}}
    to_metadata = {
        "header": "x-bucket",
        "on_header_present": {"metadata_namespace": "envoy.lb", "key": "bucket", "type": "STRING"},
    }
    remove = [{"remove": "x-envoy-fault-delay-request"}, {"remove": "x-bucket"}]
    action = {"append": {**append, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    header_mutation = "header_mutation.v3.HeaderMutation"
    return [
        _filter("strip", header_mutation, mutations={"request_mutations": remove}),
        _filter(
            "envoy.filters.http.ratelimit",
            "ratelimit.v3.RateLimit",
            domain="shop",
            timeout=timeout,
            failure_mode_deny=deny,
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
            rate_limit_service={"transport_api_version": "V3", **service},
        ),
        _filter("fault", "fault.v3.HTTPFault", delay=_FAULT),
        _filter("tell", header_mutation, mutations={"request_mutations": [action]}),
        _filter("pick", "header_to_metadata.v3.Config", request_rules=[to_metadata]),
    ]


def cluster(name: str, *places: tuple[str, int], http2: bool = False) -> dict[str, Any]:
    """A cluster of endpoints, each the only one of its bucket."""
    options = f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions"
    endpoints = [
        {
            "locality": {"region": bucket},
            "metadata": {"filter_metadata": {"place": {"bucket": bucket}}},
            "lb_endpoints": [
                {
                    "endpoint": {
                        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}
                    },
                    "metadata": {"filter_metadata": {"envoy.lb": {"bucket": bucket}}},
                }
            ],
        }
        for bucket, port in places
    ]
    made: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }
    if len(places) > 1:
        selector = {"keys": ["bucket"]}
        made["lb_subset_config"] = {
            "fallback_policy": "ANY_ENDPOINT",
            "subset_selectors": [selector],
        }
    if http2:
        explicit: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
        made["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": options, **explicit}
        }
    return made


def _resources(
    listeners: list[dict[str, Any]], clusters: list[dict[str, Any]]
) -> Iterator[Resource]:
    for kind, message, found in (
        (TypeUrl.LISTENER, listener_pb2.Listener, listeners),
        (TypeUrl.CLUSTER, cluster_pb2.Cluster, clusters),
    ):
        for one in found:
            body = serialize(json_format.ParseDict(one, message()))
            yield Resource(ResourceKey(kind, one["name"]), content_hash(body), body)


@dataclass
class Answered:
    """An answer of the gateway."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def passed(self) -> bool:
        return self.status == 200


@dataclass
class Gateway:
    """An Envoy that asks."""

    envoy: StaticEnvoy

    def ask(self, path: str, **headers: str) -> Answered:
        """One request; the names of fields have - where *headers* has _."""
        connection = http.client.HTTPConnection("127.0.0.1", self.envoy.ports["public"], timeout=20)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers=named)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, told, answer.read().decode())

    def passes(self, path: str, times: int = 1, **headers: str) -> list[bool]:
        """Whether each of so many requests reaches a service."""
        return [self.ask(path, **headers).passed for _ in range(times)]


@contextlib.contextmanager
def services() -> Iterator[tuple[int, int]]:
    """Two services that say their names; their ports."""

    def says(name: str) -> list[dict[str, Any]]:
        body = {"inline_string": f"this is {name}"}
        return [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": body}}]

    made = [_listener(name, says(name), []) for name in ("small", "large")]
    with static_envoy(_resources(made, [])) as envoy:
        yield envoy.ports["small"], envoy.ports["large"]


@contextlib.contextmanager
def gateway(
    backends: tuple[int, int], limits: int, *, routes: list[Any] | None = None, **settings: Any
) -> Iterator[Gateway]:
    """An Envoy before *backends* that asks the rate limit service on the port *limits*."""
    small, large = backends
    clusters = [
        cluster("one", ("small", small)),
        cluster("places", ("small", small), ("large", large)),
        cluster("limits", ("limits", limits), http2=True),
    ]
    public = _listener("public", routes or ROUTES, filters(**settings))
    with static_envoy(_resources([public], clusters)) as envoy:
        yield Gateway(envoy)


@dataclass
class Limits:
    """A rate limit service of this process, on a loop and a clock of its own."""

    path: Path
    clock: ManualClock = field(default_factory=ManualClock)
    port: int = 0
    listen: str = ""

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="limits")
        self.service = RateLimitService(load(self.path).domains, LocalStore(clock=self.clock))
        self.server: RateLimitServer | None = None

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """The result of *work* on the service's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def start(self) -> None:
        """Answer, on the port of before if there was one."""
        self.server = RateLimitServer(self.service)
        self.port = self.server.listen(self.listen or f"127.0.0.1:{self.port}")
        await self.server.start()

    async def stop(self) -> None:
        """Answer no more."""
        assert self.server is not None
        await self.server.stop(0)

    @contextlib.contextmanager
    def running(self) -> Iterator[Limits]:
        """Within: the service answers."""
        self._thread.start()
        try:
            self.run(self.start())
            yield self
            self.run(self.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            join_all([self._thread])
            self._loop.close()

    def count(self, metric: str, name: str) -> int:
        """What a metric counted."""
        return int(getattr(self.service.counts.rows[metric], name))


def problem(answer: Answered) -> dict[str, Any]:
    """The problem document of *answer*."""
    found = json.loads(answer.body)
    assert isinstance(found, dict)
    return found

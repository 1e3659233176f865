"""An Envoy with the same limits, written by hand: what Envoy itself takes for them.

In the cheapest form there is: all in one filter, without runtime values. Such an Envoy cannot say
which of the limits refused, and cannot let one of them only count.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.processes import running
from moreton.envoy.binary import find_envoy
from moreton.kernel.ports import free_port

_TYPES = "type.googleapis.com/envoy.extensions.filters"
_MANY = {"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"}
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_ADDRESS: dict[str, object] = {"remote_address": {}}
_TENANT = "x-tenant"
_GET: dict[str, object] = {"name": ":method", "string_match": {"exact": "GET"}}
_NO_TENANT: dict[str, object] = {"name": _TENANT, "present_match": False}


@contextlib.contextmanager
def bare_envoy(
    folder: Path, port: int, *, limits: Mapping[str, object], upstream: int, cores: str
) -> Iterator[None]:
    """An Envoy that serves *port*, with *limits*, `EACH` or `THREE`, or without any."""
    path = folder / f"bare-{port}.json"
    backend = {"endpoint": {"address": _address(upstream)}}
    assigned = {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [backend]}]}
    cluster = {"name": "backend", "type": "STATIC", "load_assignment": assigned}
    listener = _listener(port, [_filter(limits)] if limits else [])
    document = {
        "admin": {"address": _address(free_port())},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }
    path.write_text(json.dumps(document))
    command = [str(find_envoy(None)), "-c", str(path), "--concurrency", "1", "-l", "error"]
    command += ["--use-dynamic-base-id"]
    with running(command, log=folder / "bare.log", port=port, cores=cores):
        yield


def _listener(port: int, filters: list[object]) -> dict[str, object]:
    router = {"name": "router", "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"}}
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [*filters, router],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": str(port), "address": _address(port), "filter_chains": [chain]}


def _filter(limits: Mapping[str, object]) -> dict[str, object]:
    config = {
        "@type": f"{_TYPES}.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "bare",
        "filter_enabled": _ALWAYS,
        "filter_enforced": _ALWAYS,
        "max_dynamic_descriptors": 10_000,
        **limits,
    }
    return {"name": "limits", "typed_config": config}


def _reads(value: str, headers: list[object]) -> dict[str, object]:
    match = {"descriptor_key": "reads", "descriptor_value": value, "headers": headers}
    return {"header_value_match": match}


def _descriptor(**entries: str) -> dict[str, object]:
    told = [{"key": key, "value": value} for key, value in entries.items()]
    return {"entries": told, "token_bucket": _MANY}


def _address(port: int) -> object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


_SENT = {"request_headers": {"header_name": _TENANT, "descriptor_key": "tenant"}}
# One bucket for each address.
EACH: Mapping[str, object] = {
    "always_consume_default_token_bucket": False,
    "rate_limits": [{"actions": [_ADDRESS]}],
    "descriptors": [_descriptor(remote_address="")],
}
# One bucket for all, one for each address, and for reads one by a header or the address.
THREE: Mapping[str, object] = {
    "token_bucket": _MANY,
    "rate_limits": [
        {"actions": [_ADDRESS]},
        {"actions": [_reads("tenant", [_GET]), _SENT]},
        {"actions": [_reads("none", [_GET, _NO_TENANT]), _ADDRESS]},
    ],
    "descriptors": [
        _descriptor(remote_address=""),
        _descriptor(reads="tenant", tenant=""),
        _descriptor(reads="none", remote_address=""),
    ],
}

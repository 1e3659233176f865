"""A snapshot as one static bootstrap: what an Envoy can be checked with, or started cold from.

Everything that would come over ADS stands in the file: endpoints in their clusters, route tables
in their listeners, secrets, the runtime layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moreton.envoy.bootstrap import dynamic_bootstrap
from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot, TypeUrl

_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
    "HttpConnectionManager"
)
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def static_bootstrap(
    snapshot: Snapshot,
    *,
    node: str,
    group: str,
    admin_socket: Path,
    secret_files: Mapping[str, str] | None = None,
) -> bytes:
    """The serialised bootstrap that holds all of *snapshot*; deterministic. For a `.pb` file.

    A listener whose route table is not in the snapshot is left out, as Envoy would not open it.
    *secret_files* has, by a secret's name, which is its certificate's path, the path of its key:
    Envoy then reads both, and watches them. Other secrets stand in the bootstrap, keys included.
    """
    # Loaded late: only who checks or saves a configuration pays for these messages.
    from envoy.config.bootstrap.v3 import bootstrap_pb2  # noqa: PLC0415 - as above
    from google.protobuf import json_format  # noqa: PLC0415 - as above

    _load_extensions()
    out = bootstrap_pb2.Bootstrap()
    json_format.ParseDict(_own(node, group, admin_socket), out)
    for resource in _of(snapshot, TypeUrl.CLUSTER):
        out.static_resources.clusters.append(_cluster(resource, snapshot))
    for resource in _of(snapshot, TypeUrl.LISTENER):
        listener = _listener(resource, snapshot)
        if listener is not None:
            out.static_resources.listeners.append(listener)
    for resource in _of(snapshot, TypeUrl.SECRET):
        _add_secret(out, resource, (secret_files or {}).get(resource.key.name))
    for resource in _of(snapshot, TypeUrl.RUNTIME):
        _add_layer(out, resource)
    return bytes(out.SerializeToString(deterministic=True))


def bootstrap_as_json(bootstrap: bytes) -> str:
    """What `static_bootstrap` made, for people to read and for Envoy's `.json` files."""
    from envoy.config.bootstrap.v3 import bootstrap_pb2  # noqa: PLC0415 - as above
    from google.protobuf import json_format  # noqa: PLC0415 - as above

    message = bootstrap_pb2.Bootstrap.FromString(bootstrap)
    return str(json_format.MessageToJson(message, preserving_proto_field_name=True, indent=1))


def _own(node: str, group: str, admin_socket: Path) -> Any:
    """What does not come from a snapshot, as a proxy with a control plane has it."""
    unused = Path("unused.sock")
    own = dynamic_bootstrap(node=node, group=group, xds_socket=unused, admin_socket=admin_socket)
    layers = [one for one in own["layered_runtime"]["layers"] if "static_layer" in one]
    return {
        "node": own["node"],
        "admin": own["admin"],
        "overload_manager": own["overload_manager"],
        "layered_runtime": {"layers": layers},
    }


def _of(snapshot: Snapshot, type_url: TypeUrl) -> Iterator[Resource]:
    for key in sorted(snapshot.resources):
        if key.type_url is type_url:
            yield snapshot.resources[key]


def _cluster(resource: Resource, snapshot: Snapshot) -> Any:
    from envoy.config.cluster.v3 import cluster_pb2  # noqa: PLC0415 - as above

    cluster = cluster_pb2.Cluster.FromString(resource.body)
    if cluster.type != cluster_pb2.Cluster.EDS:
        return cluster
    name = cluster.eds_cluster_config.service_name or cluster.name
    cluster.ClearField("eds_cluster_config")
    cluster.type = cluster_pb2.Cluster.STATIC
    cluster.load_assignment.cluster_name = name
    endpoints = snapshot.resources.get(resource.key._replace(type_url=TypeUrl.ENDPOINTS, name=name))
    if endpoints is not None:
        cluster.load_assignment.ParseFromString(endpoints.body)
    return cluster


def _listener(resource: Resource, snapshot: Snapshot) -> Any:
    from envoy.config.listener.v3 import listener_pb2  # noqa: PLC0415 - as above

    listener = listener_pb2.Listener.FromString(resource.body)
    for one in listener.listener_filters:
        _inline_filter(one, snapshot)
    for chain in listener.filter_chains:
        for part in chain.filters:
            _inline_filter(part, snapshot)
            if part.typed_config.type_url == _MANAGER and not _inline_routes(part, snapshot):
                return None
        if chain.transport_socket.typed_config.type_url == _TLS:
            _inline_secrets(chain.transport_socket)
    return listener


def _inline_routes(part: Any, snapshot: Snapshot) -> bool:
    from envoy.extensions.filters.network.http_connection_manager.v3 import (  # noqa: PLC0415 - same
        http_connection_manager_pb2,
    )

    manager = http_connection_manager_pb2.HttpConnectionManager.FromString(part.typed_config.value)
    if manager.HasField("rds"):
        for one in manager.http_filters:
            _inline_filter(one, snapshot)
        name = manager.rds.route_config_name
        tables = {key.name: key for key in snapshot.resources if key.type_url is TypeUrl.ROUTES}
        if name not in tables:
            return False
        manager.route_config.ParseFromString(snapshot.resources[tables[name]].body)
        # As over ADS: a route to a service that is gone answers 503, and the rest is served.
        manager.route_config.validate_clusters.value = False
        part.typed_config.value = manager.SerializeToString(deterministic=True)
    return True


def _inline_filter(one: Any, snapshot: Snapshot) -> None:
    """What would come by discovery, and its default until it did."""
    from envoy.config.core.v3 import extension_pb2  # noqa: PLC0415 - as above

    if not one.HasField("config_discovery"):
        return
    found = snapshot.resources.get(ResourceKey(TypeUrl.EXTENSION, one.name))
    if found is None:
        one.typed_config.CopyFrom(one.config_discovery.default_config)
    else:
        told = extension_pb2.TypedExtensionConfig.FromString(found.body)
        one.typed_config.CopyFrom(told.typed_config)


def _inline_secrets(socket: Any) -> None:
    from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: PLC0415 - as above

    context = tls_pb2.DownstreamTlsContext.FromString(socket.typed_config.value)
    for secret in context.common_tls_context.tls_certificate_sds_secret_configs:
        secret.ClearField("sds_config")  # found by its name among the static ones
    socket.typed_config.value = context.SerializeToString(deterministic=True)


def _add_secret(out: Any, resource: Resource, key_file: str | None) -> None:
    secret = out.static_resources.secrets.add()
    secret.ParseFromString(resource.body)
    if key_file is not None:
        secret.tls_certificate.certificate_chain.filename = resource.key.name
        secret.tls_certificate.private_key.filename = key_file


def _add_layer(out: Any, resource: Resource) -> None:
    from envoy.service.runtime.v3 import rtds_pb2  # noqa: PLC0415 - as above

    runtime = rtds_pb2.Runtime.FromString(resource.body)
    layer = out.layered_runtime.layers.add(name=runtime.name)
    layer.static_layer.CopyFrom(runtime.layer)


def _load_extensions() -> None:
    """What `overload_manager` names must be known before it is parsed."""
    from envoy.extensions.resource_monitors.downstream_connections.v3 import (  # noqa: PLC0415, F401 - loaded for its types
        downstream_connections_pb2,
    )
    from envoy.extensions.resource_monitors.fixed_heap.v3 import (  # noqa: PLC0415, F401 - as above
        fixed_heap_pb2,
    )

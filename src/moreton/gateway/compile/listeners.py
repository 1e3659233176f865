"""A gateway's listeners, and the certificates that they serve with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.connection_limit.v3 import connection_limit_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.messages import any_of, over_ads, resource, socket_address
from moreton.envoy.wire import serialize
from moreton.gateway.compile.http import COLLECTOR, Tracing, manager
from moreton.gateway.compile.limits.connections import add_places
from moreton.gateway.core.model import Gateway, TlsFiles

_BUFFER_BYTES = 32 * 1024
# What the whole proxy accepts anyway; a gateway's own limit counts when it is lower.
_PROXY_CONNECTIONS_MAX = 50_000

ReadFile = Callable[[str], bytes]


def listeners(gateway: Gateway, tracing: Tracing | None) -> Iterator[Resource]:
    """The listeners of *gateway*, named `<gateway>/<number>`.

    A listener needs the receiver of its spans, and nothing else before it: a proxy asks for its
    routes and its certificate when it has it, and accepts connections when it has those.
    """
    http = any_of(manager(gateway, tracing))
    needs = frozenset([ResourceKey(TypeUrl.CLUSTER, COLLECTOR)] if tracing is not None else [])
    for number, listener in enumerate(gateway.listeners):
        message = listener_pb2.Listener(name=listener_name(gateway.name, number))
        message.address.CopyFrom(socket_address(listener.address.host, listener.address.port))
        message.per_connection_buffer_limit_bytes.value = _BUFFER_BYTES
        message.stat_prefix = gateway.name
        chain = message.filter_chains.add()
        add_places(message, gateway.name)
        if gateway.max_connections < _PROXY_CONNECTIONS_MAX:
            limit = connection_limit_pb2.ConnectionLimit(stat_prefix=gateway.name)
            limit.max_connections.value = gateway.max_connections
            chain.filters.add(name="connection_limit").typed_config.CopyFrom(any_of(limit))
        chain.filters.add(name="http").typed_config.CopyFrom(http)
        if listener.tls is not None:
            chain.transport_socket.name = "tls"
            chain.transport_socket.typed_config.CopyFrom(any_of(_tls(listener.tls)))
        yield resource(TypeUrl.LISTENER, message.name, serialize(message), needs)


def listener_name(gateway: str, number: int) -> str:
    """The name of the listener resource."""
    return f"{gateway}/{number}"


def _tls(files: TlsFiles) -> tls_pb2.DownstreamTlsContext:
    out = tls_pb2.DownstreamTlsContext()
    common = out.common_tls_context
    common.alpn_protocols.extend(["h2", "http/1.1"])
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    sds = common.tls_certificate_sds_secret_configs.add(name=files.certificate)
    over_ads(sds.sds_config)
    return out


def secret(files: TlsFiles, read: ReadFile) -> Resource:
    """The certificate and key as they are in the files now, under the certificate's path."""
    out = secret_pb2.Secret(name=files.certificate)
    out.tls_certificate.certificate_chain.inline_bytes = read(files.certificate)
    out.tls_certificate.private_key.inline_bytes = read(files.key)
    return resource(TypeUrl.SECRET, out.name, serialize(out))

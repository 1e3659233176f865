"""Small builders for the messages that many resources share; no knowledge of gateways."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

from envoy.config.core.v3 import address_pb2, extension_pb2
from google.protobuf import any_pb2

from moreton.envoy.core.resources import Resource, ResourceKey, TypeUrl
from moreton.envoy.wire import content_hash

_V3 = 2  # envoy.config.core.v3.ApiVersion.V3
_ADDRESSES_REMEMBERED = 16_384


def any_of(message: Any) -> any_pb2.Any:
    """*message* packed, deterministically."""
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def extension(name: str, message: Any) -> extension_pb2.TypedExtensionConfig:
    """A named, typed extension configuration."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=any_of(message))


def over_ads(source: Any) -> None:
    """Make *source*, a `ConfigSource`, point at the aggregated stream."""
    source.ads.SetInParent()
    source.resource_api_version = _V3


def resource(
    type_url: TypeUrl, name: str, body: bytes, needs: frozenset[ResourceKey] = frozenset()
) -> Resource:
    """A resource whose version is the hash of its *body*."""
    return Resource(ResourceKey(type_url, name), content_hash(body), body, needs)


def socket_address(host: str, port: int) -> address_pb2.Address:
    """*host*, an IP address or a name, and a TCP *port* as Envoy writes them."""
    out = address_pb2.Address()
    out.socket_address.address = host
    out.socket_address.port_value = port
    return out


@lru_cache(maxsize=_ADDRESSES_REMEMBERED)
def is_ip_address(host: str) -> bool:
    """Whether *host* is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

"""Responses spliced from bytes that were serialised once.

A protobuf message may be cut between fields and its parts joined again, so a response is its small
own fields followed by the cached fields of its resources.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import duration_pb2

from moreton.envoy.core.resources import Resource, TypeUrl
from moreton.envoy.wire import content_hash, delimited, serialize

_RESOURCES_FIELD = 2  # in both DiscoveryResponse and DeltaDiscoveryResponse


def any_bytes(resource: Resource) -> bytes:
    """The serialised `Any` that holds *resource*."""
    return delimited(1, resource.key.type_url.encode()) + delimited(2, resource.body)


def delta_response(
    type_url: TypeUrl, nonce: str, resources: Iterable[Resource], removed: Iterable[str]
) -> bytes:
    """A serialised `DeltaDiscoveryResponse`."""
    head = discovery_pb2.DeltaDiscoveryResponse(
        type_url=type_url, nonce=nonce, system_version_info=nonce, removed_resources=removed
    )
    parts = [serialize(head)]
    for resource in resources:
        # Resource: version = 1, resource = 2, name = 3, ttl = 6
        entry = (
            delimited(3, resource.key.name.encode())
            + delimited(1, resource.version.encode())
            + delimited(2, any_bytes(resource))
            + _ttl(resource)
        )
        parts.append(delimited(_RESOURCES_FIELD, entry))
    return b"".join(parts)


def _ttl(resource: Resource) -> bytes:
    if resource.seconds is None:
        return b""
    duration = duration_pb2.Duration()
    duration.FromTimedelta(timedelta(seconds=resource.seconds))
    return delimited(6, serialize(duration))


def sotw_response(type_url: TypeUrl, nonce: str, resources: Iterable[Resource]) -> bytes:
    """A serialised `DiscoveryResponse`."""
    parts = []
    versions = []
    for resource in resources:
        parts.append(delimited(_RESOURCES_FIELD, any_bytes(resource)))
        versions.append(resource.version.encode())
    head = discovery_pb2.DiscoveryResponse(
        type_url=type_url, nonce=nonce, version_info=content_hash(*versions)
    )
    return serialize(head) + b"".join(parts)

"""The xDS server: delta ADS for Envoy, state-of-the-world ADS for gRPC clients."""

from moreton.envoy.xds.server import XdsServer
from moreton.envoy.xds.status import ObjectState, ObjectStatus, ProxyStatus

__all__ = ["ObjectState", "ObjectStatus", "ProxyStatus", "XdsServer"]

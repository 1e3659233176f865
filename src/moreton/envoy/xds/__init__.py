"""The xDS server: delta ADS for Envoy, state-of-the-world ADS for gRPC clients."""

from moreton.envoy.xds.server import PROXYLESS, XdsServer
from moreton.envoy.xds.status import ObjectState, ObjectStatus, ProxyStatus

__all__ = ["PROXYLESS", "ObjectState", "ObjectStatus", "ProxyStatus", "XdsServer"]

"""The sections `gateways`, `services` and `routes` of `moreton.yaml`, as models."""

from moreton.gateway.config.gateways import GatewayModel
from moreton.gateway.config.routes import RouteModel
from moreton.gateway.config.services import NamesModel, RunModel, ServiceModel

__all__ = ["GatewayModel", "NamesModel", "RouteModel", "RunModel", "ServiceModel"]

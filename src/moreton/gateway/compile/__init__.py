"""Core values to Envoy resources."""

from moreton.gateway.compile.compiler import GatewayCompiler

__all__ = ["GatewayCompiler"]

"""Core values to Envoy resources, incrementally: a change recompiles only what it touches."""

from moreton.gateway.compile.compiler import GatewayCompiler, TlsUnreadable
from moreton.gateway.compile.http import Tracing

__all__ = ["GatewayCompiler", "TlsUnreadable", "Tracing"]

"""From what is desired to what the proxies have: compile, publish, watch what becomes of it."""

from moreton.controlplane.publishing.publisher import Publisher

__all__ = ["Publisher"]

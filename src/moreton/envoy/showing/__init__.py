"""What an Envoy shows of requests and their answers, to who only looks; see ADR 0015."""

from moreton.envoy.showing.server import ShownServer

__all__ = ["ShownServer"]

"""What the Consul API refuses: a status as Consul's and a sentence, which is the body."""

from __future__ import annotations

from moreton.registry.core.errors import RegistryError


class ConsulRequestRefused(RegistryError):
    """A request of a Consul client cannot be carried out; *status* is the one Consul answers."""

    code = "consul-request-refused"

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


def bad(text: str) -> ConsulRequestRefused:
    """The request is wrong in itself."""
    return ConsulRequestRefused(400, text)


def undecodable(text: str) -> ConsulRequestRefused:
    """The body is not what it should be."""
    return ConsulRequestRefused(400, f"Request decode failed: {text}")


def not_found(text: str) -> ConsulRequestRefused:
    """What the request is about is not there."""
    return ConsulRequestRefused(404, text)

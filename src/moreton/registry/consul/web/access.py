"""Who may do what: the API's token, and what is open without one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from moreton.registry.consul.core.refusals import ConsulRequestRefused
from moreton.registry.consul.messages import Request

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# Of Consul's endpoints those for which it wants no token either: clients send none there.
_OPEN = ("/v1/status/", "/v1/catalog/datacenters")


class Anonymous(StrEnum):
    """What a request without a token may do."""

    NOTHING = "nothing"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Access:
    """Lets in what carries *token*, and what *anonymous* allows without one."""

    token: str
    anonymous: Anonymous

    @property
    def default_policy(self) -> str:
        """As Consul names it."""
        return "deny" if self.anonymous is Anonymous.NOTHING else "allow"

    def check(self, request: Request) -> None:
        """Raises `ConsulRequestRefused`, 403, for what is not allowed."""
        given = _given(request)
        if given:
            if not secrets.compare_digest(given.encode(), self.token.encode()):
                raise ConsulRequestRefused(
                    403,
                    "ACL not found: the token is not the one of this Moreton, so the request was "
                    "not carried out; send the content of the file .moreton/token",
                )
            return
        if self._is_open(request):
            # A page of some site, open in a browser of this machine, is not who was meant.
            if _is_foreign(request):
                raise ConsulRequestRefused(
                    403, "Permission denied: requests of web pages of other sites need a token"
                )
            return
        raise ConsulRequestRefused(
            403,
            "Permission denied: the request carries no token, so it was not carried out; send the "
            "content of the file .moreton/token as X-Consul-Token, or set consul.anonymous",
        )

    def _is_open(self, request: Request) -> bool:
        reads = request.method in {"GET", "HEAD"}
        if reads and request.path.startswith(_OPEN):
            return True
        if self.anonymous is Anonymous.READ:
            return reads
        return self.anonymous is Anonymous.WRITE


def _given(request: Request) -> str:
    """The token, from where Consul looks for it, in that order."""
    found = request.parameters.first("token") or request.header(b"x-consul-token")
    if not found:
        scheme, _, rest = request.header(b"authorization").partition(" ")
        found = rest.strip() if scheme.lower() == "bearer" else ""
    return found


def _is_foreign(request: Request) -> bool:
    origin = request.header(b"origin")
    if not origin:
        return request.header(b"sec-fetch-site") == "cross-site"
    try:
        return urlsplit(origin).hostname not in _LOCAL_NAMES
    except ValueError:
        return True

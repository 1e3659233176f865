"""What etcd's error texts mean: its numbers are too coarse to tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from moreton.store.etcd.core.messages import Document


class Kind(Enum):
    """What to do about a refusal."""

    COMPACTED = auto()
    FUTURE = auto()
    LEASE_NOT_FOUND = auto()
    LEASE_EXISTS = auto()
    TOO_LARGE = auto()
    NO_SPACE = auto()
    # The token is unknown or too old, or there was none: log in and ask again.
    LOGIN_NEEDED = auto()
    LOGIN_REFUSED = auto()
    AUTH_OFF = auto()
    FORBIDDEN = auto()
    # This member cannot, another may: nothing was done.
    NOT_HERE = auto()
    # This member cannot say whether it was done.
    UNSURE = auto()
    OTHER = auto()


# Source: etcd's api/v3rpc/rpctypes/error.go (3.4 to 3.6), and google.golang.org/grpc's rpc_util.go.
_TEXTS: Mapping[str, Kind] = {
    "required revision has been compacted": Kind.COMPACTED,
    "required revision is a future revision": Kind.FUTURE,
    "requested lease not found": Kind.LEASE_NOT_FOUND,
    "lease already exists": Kind.LEASE_EXISTS,
    "request is too large": Kind.TOO_LARGE,
    "too many operations in txn request": Kind.TOO_LARGE,
    "received message larger than max": Kind.TOO_LARGE,
    "database space exceeded": Kind.NO_SPACE,
    "invalid auth token": Kind.LOGIN_NEEDED,
    "revision in header is old": Kind.LOGIN_NEEDED,
    "revision of auth store is old": Kind.LOGIN_NEEDED,
    "user name is empty": Kind.LOGIN_NEEDED,
    "authentication failed": Kind.LOGIN_REFUSED,
    "authentication is not enabled": Kind.AUTH_OFF,
    "permission denied": Kind.FORBIDDEN,
    "etcdserver: no leader": Kind.NOT_HERE,
    "too many requests": Kind.NOT_HERE,
    "not capable": Kind.NOT_HERE,
}
# gRPC's codes for an outcome that is open: cancelled, unknown, deadline exceeded, aborted,
# internal, unavailable.
_OPEN_CODES = (1, 2, 4, 10, 13, 14)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What etcd said instead of an answer."""

    kind: Kind
    reason: str


def refusal_of(document: Document) -> Refusal | None:
    """What *document* refuses, `None` if it is an answer.

    The shapes: `{"error": text, "code": n}` of 3.4 and 3.5, `{"message": text, "code": n}` of 3.6,
    and on a stream `{"error": {"message": text, "grpc_code" or "code": n}}`.
    """
    found = document.get("error")
    if isinstance(found, Mapping):
        document = found
    elif found is None and not ("code" in document and "message" in document):
        return None
    reason = str(document.get("message") or document.get("error"))
    code = document.get("grpc_code", document.get("code"))
    return Refusal(kind_of(reason, code), reason)


def kind_of(reason: str, code: object = None) -> Kind:
    """The kind of a refusal with that text."""
    for text, kind in _TEXTS.items():
        if text in reason:
            return kind
    return Kind.UNSURE if code in _OPEN_CODES else Kind.OTHER

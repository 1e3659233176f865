"""The troubles of a store that is an etcd."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.kernel.errors import RetryAdvice
from moreton.store.core.errors import AnswerLost, RequestTooLarge, StoreError

__all__ = [
    "BadEtcdUrl",
    "EtcdAnswerLost",
    "EtcdForbidden",
    "EtcdLimitExceeded",
    "EtcdLoginRefused",
    "EtcdNoSpace",
    "EtcdRefused",
    "EtcdTlsUnusable",
    "EtcdUnreachable",
    "EtcdWentBack",
    "NotAnEtcd",
    "OtherEtcd",
]


class BadEtcdUrl(StoreError):
    """An address that begins like an etcd's and cannot be understood."""

    code = "store-etcd-bad-url"

    def __init__(self, *, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the address of the etcd is not valid, {reason}: the store cannot be opened; write "
            "etcd://host:2379,host2:2379/prefix?user=name&password_file=/path, or etcds:// for TLS"
        )


class EtcdTlsUnusable(StoreError):
    """A certificate or key for talking to the etcd cannot be read."""

    code = "store-etcd-tls-unusable"

    def __init__(self, *, reason: str) -> None:
        super().__init__(
            f"the certificates for the etcd cannot be used, {reason}: the store cannot be opened; "
            "check the files named by ca, cert and key, and the rights to read them"
        )


class EtcdUnreachable(StoreError):
    """No member of the etcd answered in time. Nothing was written."""

    code = "store-etcd-unreachable"
    retry = RetryAdvice.AFTER

    def __init__(self, *, endpoints: Sequence[str], reason: str) -> None:
        self.endpoints = tuple(endpoints)
        self.reason = reason
        super().__init__(
            f"no etcd answers at {', '.join(endpoints)}, {reason}: nothing was read or written; "
            "check that it runs, has a leader and can be reached from here"
        )


class EtcdAnswerLost(AnswerLost):
    """A write was sent and not answered: it may have happened or not."""

    code = "store-etcd-answer-lost"

    def __init__(self, *, endpoint: str, reason: str) -> None:
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(
            f"etcd at {endpoint} did not answer a write, {reason}: it may have happened or not, "
            "and was not repeated; read what is there, then decide"
        )


class NotAnEtcd(StoreError):
    """Something else answers there, or an etcd before 3.4."""

    code = "store-etcd-not-an-etcd"

    def __init__(self, *, endpoint: str, reason: str) -> None:
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(
            f"{endpoint} does not answer as an etcd of version 3.4 or later does, {reason}: it "
            "cannot be used as a store; check host and port (clients use 2379, peers 2380), and "
            "whether it wants etcds://"
        )


class EtcdLoginRefused(StoreError):
    """The etcd does not know us."""

    code = "store-etcd-login-refused"

    def __init__(self, *, user: str | None, reason: str) -> None:
        self.user = user
        who = "a client without a user" if user is None else f"the user {user!r}"
        super().__init__(
            f"etcd refused {who}, {reason}: nothing can be read or written; "
            "check user and password (or password_file) in the store's address"
        )


class EtcdForbidden(StoreError):
    """The user may not do this to these keys."""

    code = "store-etcd-forbidden"

    def __init__(self, *, user: str | None, prefix: bytes) -> None:
        self.user = user
        super().__init__(
            f"etcd does not let {'us' if user is None else f'the user {user!r}'} do this to keys "
            f"that begin with {prefix!r}: it was not done; grant a role that may read and write "
            "that prefix"
        )


class EtcdNoSpace(StoreError):
    """The etcd's space quota is used up. The write did not happen; reads go on."""

    code = "store-etcd-no-space"
    retry = RetryAdvice.AFTER

    def __init__(self) -> None:
        super().__init__(
            "etcd's space quota is used up: the write was refused, reads go on; compact and "
            "defragment it, or raise --quota-backend-bytes, then `etcdctl alarm disarm`"
        )


class EtcdLimitExceeded(RequestTooLarge):
    """A request above a limit that this etcd was started with."""

    code = "store-etcd-limit-exceeded"

    def __init__(self, *, reason: str) -> None:
        StoreError.__init__(
            self,
            f"the request is above a limit of this etcd, {reason!r}: nothing was written; split "
            "it, or raise --max-request-bytes or --max-txn-ops",
        )


class OtherEtcd(StoreError):
    """An endpoint belongs to another cluster than those before."""

    code = "store-etcd-other"

    def __init__(self, *, endpoint: str, found: str, expected: str) -> None:
        super().__init__(
            f"{endpoint} belongs to the etcd cluster {found}, not to {expected}: nothing more is "
            "read or written there; list endpoints of one cluster only, and restart if it was "
            "made anew"
        )


class EtcdWentBack(StoreError):
    """The etcd knows less than it did: it was restored from a copy or began with empty data."""

    code = "store-etcd-went-back"

    def __init__(self, *, found: int, seen: int) -> None:
        self.found = found
        self.seen = seen
        super().__init__(
            f"etcd is at revision {found} and was at {seen} before, so it was restored or emptied: "
            "what this program knows is no longer true; restart it to read everything anew"
        )


class EtcdRefused(StoreError):
    """The etcd refused for a reason that has no name here."""

    code = "store-etcd-refused"

    def __init__(self, *, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"etcd refused, {reason!r}: it was not done; look into the log of the etcd"
        )

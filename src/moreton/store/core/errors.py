"""What the store refuses whatever its backend is."""

from __future__ import annotations

from moreton.kernel.errors import MoretonError


class StoreError(MoretonError):
    """The root of the store's errors."""


class AnswerLost(StoreError):
    """The root of: a write was sent and not answered. It may have happened or not."""


class Compacted(StoreError):
    """The history that was asked for is gone: read the range again, watch from there on.

    A watch raises it as well when its reader was so slow that the history it still had to see
    was compacted meanwhile.
    """

    code = "store-compacted"

    def __init__(self, *, revision: int, compact_revision: int) -> None:
        self.revision = revision
        self.compact_revision = compact_revision
        super().__init__(
            f"revision {revision} was compacted, history begins at revision {compact_revision}: "
            "it can neither be read nor watched; read the range anew and watch from the revision "
            "after that of the answer"
        )


class FutureRevision(StoreError):
    """A revision that has not happened yet."""

    code = "store-future-revision"

    def __init__(self, *, revision: int, current: int) -> None:
        self.revision = revision
        self.current = current
        super().__init__(
            f"revision {revision} has not happened, the store is at revision {current}: nothing "
            "can be read or compacted there; ask for an earlier one, or for none"
        )


class LeaseNotFound(StoreError):
    """A lease that never was, was revoked, or expired together with its keys."""

    code = "store-lease-not-found"

    def __init__(self, *, lease: int) -> None:
        self.lease = lease
        super().__init__(
            f"lease {lease} does not exist or has expired: nothing can hang on it and its keys "
            "are gone; grant a new one and put the keys again"
        )


class LeaseExists(StoreError):
    """A lease id that was asked for is taken."""

    code = "store-lease-exists"

    def __init__(self, *, lease: int) -> None:
        self.lease = lease
        super().__init__(
            f"lease {lease} exists: it was not granted again; choose another id, or none"
        )


class DuplicateKey(StoreError):
    """One transaction branch writes a key twice, so that it would have two values at a revision."""

    code = "store-duplicate-key"

    def __init__(self, *, key: bytes) -> None:
        self.key = key
        super().__init__(
            f"one transaction writes key {key!r} twice: nothing was written; "
            "write each key once, or in two transactions"
        )


class RequestTooLarge(StoreError):
    """More operations or bytes in one request than any backend takes."""

    code = "store-request-too-large"

    def __init__(self, *, found: int, limit: int, unit: str) -> None:
        self.found = found
        self.limit = limit
        super().__init__(
            f"a request of {found} {unit} is above the limit of {limit}: nothing was written; "
            "split it"
        )

"""Which requests take part, how long answers are kept, and how callers are told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from moreton.kernel.arguments import check_duration, check_whole
from moreton.transactions.databases import open_database
from moreton.transactions.idempotency.core.claims import Interrupted
from moreton.transactions.idempotency.core.keys import is_final
from moreton.transactions.idempotency.keeping import DatabaseKeeper, Keeper, Keys, MemoryKeeper

# As long as Stripe keeps them, whose clients know no other.
EXPIRES_IN = timedelta(hours=24)
LEASE = timedelta(minutes=1)
BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the middleware sees it; *headers* has lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]


def by_authorization(request: Request) -> str:
    """Callers are told apart by their `Authorization`: nobody gets another's answer.

    Cookies change between a request and its repetition, and say nothing here: where they are what
    tells users apart, give the user's id as *scope*.
    """
    return sha256(request.headers.get("authorization", "").encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """Requests of *methods* with a key are handled once; the answer is given again afterwards.

    *keeper*: `keep_at` a URL, or in memory. *required* says which requests must have a key.
    *scope* tells callers apart: a key counts for one caller alone. *stores* says which statuses are
    kept; others leave the key free. A request that is handled has its key for *lease*: one that
    comes again later finds it *interrupted*. Requests above *request_bytes_max* are refused, and
    answers above *answer_bytes_max* are not kept.
    """

    keeper: Keeper
    methods: frozenset[str] = frozenset({"POST", "PATCH"})
    required: Callable[[Request], bool] | bool = False
    scope: Callable[[Request], str] = by_authorization
    stores: Callable[[int], bool] = is_final
    interrupted: Interrupted = Interrupted.REFUSE
    expires_in: timedelta = EXPIRES_IN
    lease: timedelta = LEASE
    request_bytes_max: int = BYTES_MAX
    answer_bytes_max: int = BYTES_MAX
    keys: Keys = field(init=False)

    def __post_init__(self) -> None:
        if not callable(getattr(self.keeper, "add", None)):
            raise TypeError(f"keeper is {self.keeper!r}: give one, as keep_at('sqlite:///keys.db')")
        check_duration("expires_in", self.expires_in)
        check_whole("request_bytes_max", self.request_bytes_max, 1)
        check_whole("answer_bytes_max", self.answer_bytes_max, 1)
        object.__setattr__(self, "methods", frozenset(one.upper() for one in self.methods))
        keys = Keys(
            self.keeper,
            expires_in=self.expires_in,
            lease=self.lease,
            interrupted=self.interrupted,
        )
        object.__setattr__(self, "keys", keys)

    def needs_key(self, request: Request) -> bool:
        """Whether *request* is refused without one."""
        return self.required(request) if callable(self.required) else self.required


def keep_at(url: str) -> Keeper:
    """Keys in the database at *url*: `sqlite:///file`, `postgresql://…`, or `memory:`."""
    return MemoryKeeper() if url == "memory:" else DatabaseKeeper(open_database(url))

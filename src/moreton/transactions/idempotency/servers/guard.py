"""What all servers share: who is handled, who is answered instead, and what is kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from moreton.kernel.arguments import check_kind
from moreton.kernel.errors import MoretonError
from moreton.transactions.idempotency.core.claims import Replay, Run
from moreton.transactions.idempotency.core.keys import (
    FIELD,
    REPLAYED,
    NotAKey,
    Stored,
    fingerprint,
    kept_fields,
    read_key,
)
from moreton.transactions.idempotency.core.problems import (
    Answer,
    bad_key,
    incomplete,
    no_key,
    refusal,
    too_large,
    unavailable,
)
from moreton.transactions.idempotency.keeping import Slot
from moreton.transactions.idempotency.policy import KeyPolicy, Request

_RETRY_SECONDS = 5
_LOG = logging.getLogger("moreton.transactions")


@dataclass(frozen=True, slots=True)
class Handling:
    """A request that is to be handled; *token* proves that its key is ours."""

    slot: Slot
    token: str


class Guard:
    """Decides by *policy*; blocks while the database answers."""

    def __init__(self, policy: KeyPolicy) -> None:
        check_kind(
            "policy", policy, KeyPolicy, "a policy, as KeyPolicy(keep_at('sqlite:///keys.db'))"
        )
        self.policy = policy

    def slot(self, request: Request) -> Slot | Answer | None:
        """The key of *request*, or the answer to it; `None` for one that takes no part."""
        if request.method.upper() not in self.policy.methods:
            return None
        value = request.headers.get(FIELD)
        if value is None:
            return no_key() if self.policy.needs_key(request) else None
        try:
            return Slot(self.policy.scope(request), read_key(value))
        except NotAKey as error:
            return bad_key(str(error))

    def too_large(self) -> Answer:
        """The answer to a request with more than `request_bytes_max`."""
        return too_large(self.policy.request_bytes_max)

    def incomplete(self) -> Answer:
        """The answer to a request that is shorter than it said: a part may mean something else."""
        return incomplete()

    def enter(self, slot: Slot, request: Request, body: bytes) -> Handling | Answer:
        """Claim the key; or the answer."""
        content_type = request.headers.get("content-type", "")
        print_of = fingerprint(request.method, request.target, content_type, body)
        try:
            claim = self.policy.keys.claim(slot, print_of)
        except MoretonError:
            _LOG.exception("idempotency keys cannot be looked up: the request is not handled")
            return unavailable(_RETRY_SECONDS)
        if isinstance(claim, Run):
            return Handling(slot, claim.token)
        if isinstance(claim, Replay):
            stored = claim.stored
            return Answer(stored.status, [*stored.fields, REPLAYED], stored.body)
        return refusal(claim)

    def leave(
        self, handling: Handling, status: int, fields: list[tuple[str, str]], body: bytes | None
    ) -> None:
        """Keep the answer, if it is one to keep; *body* is `None` for one that is too large."""
        stored = None if body is None else Stored(status, kept_fields(fields), body)
        try:
            if self.policy.stores(status):
                self.policy.keys.answer(handling.slot, handling.token, status, stored)
            else:
                self.policy.keys.release(handling.slot, handling.token)
        except MoretonError:
            # The answer is true nevertheless; who repeats the request learns that nobody knows.
            _LOG.exception("the answer to an idempotent request could not be kept")

    def fail(self, handling: Handling) -> None:
        """The handler raised, which is answered with a 5xx: as `leave` with that."""
        self.leave(handling, 500, [], None)

"""The answers to requests that are not handled, as problem documents (RFC 9457)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from moreton.transactions.idempotency.core.claims import Mismatch, Unknown, Wait

PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes


def no_key() -> Answer:
    """The request needs a key, and has none."""
    return _problem(
        400,
        "idempotency-key-missing",
        "Idempotency-Key is missing",
        "this operation needs an Idempotency-Key: it was not done; send one that is new for each "
        "operation, and the same for each repetition",
    )


def bad_key(reason: str) -> Answer:
    """The field's value is no key."""
    return _problem(
        400,
        "idempotency-key-malformed",
        "Idempotency-Key is malformed",
        f"the Idempotency-Key cannot be read, {reason}: the operation was not done",
    )


def too_large(limit: int) -> Answer:
    """The request is too large to be compared with its repetition."""
    return _problem(
        413,
        "idempotency-request-too-large",
        "Request is too large for an Idempotency-Key",
        f"the request has more than {limit} bytes: the operation was not done",
    )


def incomplete() -> Answer:
    """The client left before its request was whole."""
    return _problem(
        400,
        "idempotency-request-incomplete",
        "Request is incomplete",
        "the request ended before the length that it announced: the operation was not done; "
        "send it again",
    )


def unavailable(seconds: int) -> Answer:
    """What keeps the keys does not answer."""
    return _problem(
        503,
        "idempotency-unavailable",
        "Idempotency keys are unavailable",
        "nobody can say whether this operation was done before: it was not done now",
        [("retry-after", str(seconds))],
    )


def refusal(claim: Wait | Mismatch | Unknown) -> Answer:
    """The answer to a request that is not handled for what is kept under its key."""
    match claim:
        case Wait(seconds):
            return _problem(
                409,
                "idempotency-in-progress",
                "A request is outstanding for this Idempotency-Key",
                "the first request with this key is being handled: send it again for its answer",
                [("retry-after", str(seconds))],
            )
        case Mismatch():
            return _problem(
                422,
                "idempotency-key-reused",
                "Idempotency-Key is already used",
                "this key was used for another request: the operation was not done; "
                "take a new key for another operation",
            )
        case Unknown(0):
            return _problem(
                409,
                "idempotency-outcome-unknown",
                "The outcome is unknown",
                "the first request with this key was interrupted: it may have taken effect; look "
                "whether it did, and take a new key if not",
            )
        case Unknown(status):
            return _problem(
                409,
                "idempotency-answer-not-kept",
                "The answer was not kept",
                f"the first request with this key was answered with {status}, which was too large "
                "to keep: the operation is not done again",
            )


def _problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    more: list[tuple[str, str]] | None = None,
) -> Answer:
    document = {
        "type": "about:blank", "title": title, "status": status, "detail": detail, "code": code,
    }  # fmt: skip
    body = json.dumps(document).encode()
    fields = [("content-type", PROBLEM), ("content-length", str(len(body))), *(more or ())]
    return Answer(status, fields, body)

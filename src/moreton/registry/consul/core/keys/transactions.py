"""The body of `txn`: operations on keys, all done or none."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from moreton.registry.consul.core.fields import Fields
from moreton.registry.consul.core.keys.entries import (
    FLAGS_MAX,
    KEY_CHARS_MAX,
    OPERATIONS_MAX,
    VALUE_BYTES_MAX,
    Entry,
    Failed,
    Operation,
    to_document,
)
from moreton.registry.consul.core.refusals import ConsulRequestRefused, bad

_NOT_OFFERED = ("node", "service", "check", "intention", "session")


def read_transaction(body: object) -> tuple[Operation, ...]:
    """The operations in their order. Raises `ConsulRequestRefused`."""
    if not isinstance(body, list):
        raise bad("Failed to parse body: the transaction is not a list of operations")
    if len(body) > OPERATIONS_MAX:
        raise ConsulRequestRefused(
            413,
            f"Transaction contains too many operations ({len(body)} > {OPERATIONS_MAX})",
        )
    return tuple(_operation(Fields(each, "the operation")) for each in body)


def _operation(fields: Fields) -> Operation:
    inner = fields.child("kv")
    if inner is None:
        other = next((each for each in _NOT_OFFERED if each in fields), "nothing")
        raise bad(
            f"an operation is about {other}, and transactions are about KV only: nothing was done; "
            "use agent/service/register and the like for the rest"
        )
    operation = Operation(
        verb=inner.text("verb"),
        key=inner.text("key"),
        value=_value(inner),
        flags=_unsigned(inner, "flags"),
        index=_unsigned(inner, "index"),
        session=inner.text("session"),
    )
    if len(operation.value) > VALUE_BYTES_MAX:
        raise ConsulRequestRefused(
            413,
            f'Value for key "{operation.key[:80]}" is too large ({len(operation.value)} > '
            f"{VALUE_BYTES_MAX} bytes)",
        )
    check_key(operation.key, may_be_empty=operation.verb.endswith("-tree"))
    return operation


def check_key(key: str, *, may_be_empty: bool = False) -> None:
    """Raises `ConsulRequestRefused` for what is no key."""
    if not key and not may_be_empty:
        raise bad("Missing key name")
    if len(key) > KEY_CHARS_MAX:
        raise bad(f"key {key[:40]!r}… has {len(key)} characters; at most {KEY_CHARS_MAX} are kept")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise bad(f"key {key[:40]!r} is not text: {error.reason}") from error


def _value(fields: Fields) -> bytes:
    found = fields.text("value")
    try:
        return base64.b64decode(found.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise bad(f"Failed to parse body: failed to decode value: {error}") from error


def _unsigned(fields: Fields, key: str) -> int:
    found = fields.raw(key)
    # Flags have 64 bits without a sign.
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= FLAGS_MAX:
        return found
    number = fields.number(key)
    if number < 0:
        raise bad(f"Failed to parse body: {key} {number} is below 0")
    return number


def to_answer(results: Sequence[tuple[Entry, bool]], failed: Sequence[Failed]) -> dict[str, Any]:
    """What the API says of a transaction that was done, or that *failed*."""
    if failed:
        errors = [{"OpIndex": each.position, "What": each.what} for each in failed]
        return {"Results": None, "Errors": errors}
    shown = [{"KV": to_document(entry, with_value=value)} for entry, value in results]
    return {"Results": shown, "Errors": None}

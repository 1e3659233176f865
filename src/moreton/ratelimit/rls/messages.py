"""Envoy's messages, read and written.

Source: envoy.service.ratelimit.v3, rls.proto.
"""

from __future__ import annotations

from typing import Any

from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf import struct_pb2, unknown_fields, wrappers_pb2

from moreton.envoy.wire import delimited, serialize
from moreton.ratelimit.core.limit import NEVER
from moreton.ratelimit.rls.core.answers import Answer, Descriptor, Override, Status
from moreton.ratelimit.rls.core.facts import TAKEN
from moreton.ratelimit.rls.core.tree import COUNT_MAX, Unit

_OK, _OVER = 1, 2
# Envoy's fault filter waits so many milliseconds.
DELAY_FIELD = "x-envoy-fault-delay-request"
_UNITS = {Unit(name.lower()): number for name, number in (
    rls_pb2.RateLimitResponse.RateLimit.Unit.items()
) if number}  # fmt: skip
# Of an override, whose numbers are those of envoy.type.v3.RateLimitUnit.
_OVERRIDE_UNITS = {
    1: Unit.SECOND, 2: Unit.MINUTE, 3: Unit.HOUR, 4: Unit.DAY, 5: Unit.MONTH, 6: Unit.YEAR,
    7: Unit.WEEK,
}  # fmt: skip
# Fields that Envoy 1.40 has and the generated messages do not: of a descriptor whether its hits are
# given back, of an override and of a limit that is told of how many units its period has.
_IS_NEGATIVE, _OVERRIDE_UNITS_FIELD, _TOLD_UNITS_FIELD = 4, 3, 4
_VARINT, _BYTES = 0, 2
_MULTIPLIER_MAX = 1_000_000
DESCRIPTORS_MAX = 64
COST_MAX = 2**53


class NotUnderstood(ValueError):
    """A request that asks for nothing that could be decided."""


def read(request: Any) -> tuple[str, list[Descriptor], int]:
    """The domain, the descriptors and the cost of a `RateLimitRequest`; raises `NotUnderstood`."""
    if not request.domain:
        raise NotUnderstood("rate limit domain must not be empty")
    if not request.descriptors:
        raise NotUnderstood("rate limit descriptor list must not be empty")
    if len(request.descriptors) > DESCRIPTORS_MAX:
        raise NotUnderstood(
            f"{len(request.descriptors)} descriptors are more than {DESCRIPTORS_MAX}"
        )
    # 0 is what is not said: one hit.
    return (
        request.domain,
        [_descriptor(one) for one in request.descriptors],
        (request.hits_addend or 1),
    )


def _descriptor(message: Any) -> Descriptor:
    entries = tuple((entry.key, entry.value) for entry in message.entries)
    cost = None
    if message.HasField("hits_addend"):
        cost = min(message.hits_addend.value, COST_MAX)
    if _unknown(message, _IS_NEGATIVE, _VARINT):
        cost = -(1 if cost is None else cost)
    override = None
    if message.HasField("limit"):
        unit = _OVERRIDE_UNITS.get(message.limit.unit)
        if unit is None:
            raise NotUnderstood(f"the unit {message.limit.unit} of a limit is not known")
        override = Override(message.limit.requests_per_unit, unit, _multiplier(message.limit))
    return Descriptor(entries, cost, override)


def _multiplier(limit: Any) -> int:
    """How many units the period of an override has."""
    wrapped = _unknown(limit, _OVERRIDE_UNITS_FIELD, _BYTES)
    if not wrapped:
        return 1
    found = int(wrappers_pb2.UInt32Value.FromString(wrapped).value)
    if not 1 <= found <= _MULTIPLIER_MAX:
        raise NotUnderstood(f"a period of {found} units is not known")
    return found


def _unknown(message: Any, number: int, kind: int) -> Any:
    """The value of a field that the generated message does not have; `None` where it is not."""
    found: Any = unknown_fields.UnknownFieldSet(message)
    for field in found:
        if field.field_number == number and field.wire_type == kind:
            return field.data
    return None


def write(answer: Answer) -> bytes:
    """A serialised `RateLimitResponse`."""
    message = rls_pb2.RateLimitResponse(overall_code=_OVER if answer.refused else _OK)
    for status in answer.statuses:
        _write_status(message.statuses.add(), status)
    for name, value in answer.fields:
        message.response_headers_to_add.add(key=name, value=value)
    if answer.delay_nanos:
        millis = -(-answer.delay_nanos // 1_000_000)
        message.request_headers_to_add.add(key=DELAY_FIELD, value=str(millis))
    if answer.moment:
        message.request_headers_to_add.add(key=TAKEN, value=str(answer.moment))
    if answer.body:
        message.raw_body = answer.body
    if answer.metadata:
        metadata = struct_pb2.Struct()
        metadata.update({"metadata": answer.metadata})
        message.dynamic_metadata.CopyFrom(metadata)
    return bytes(message.SerializeToString())


def _write_status(message: Any, status: Status) -> None:
    message.code = _OVER if status.over else _OK
    message.limit_remaining = status.left
    threshold = status.threshold
    if threshold is None:
        return
    limit = message.current_limit
    limit.requests_per_unit = min(threshold.count, COUNT_MAX)
    if threshold.name:
        limit.name = threshold.name
    if threshold.unit is not None:
        limit.unit = _UNITS[threshold.unit]
        if threshold.multiplier != 1:
            units = serialize(wrappers_pb2.UInt32Value(value=threshold.multiplier))
            limit.MergeFromString(delimited(_TOLD_UNITS_FIELD, units))
    if status.reset_nanos != NEVER:
        # Whole seconds, as Envoy tells them; the next one, so that nobody comes too early.
        message.duration_until_reset.seconds = -(-status.reset_nanos // 1_000_000_000)

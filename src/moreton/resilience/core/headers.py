"""The header fields that carry a deadline, a criticality and an attempt number between services."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

TIMEOUT = "x-moreton-timeout-ms"  # request: how long the caller will still wait, in milliseconds
CRITICALITY = "x-moreton-criticality"  # request
ATTEMPT = "x-moreton-attempt"  # request: 1 for the first try
RETRY = "x-moreton-retry"  # answer: `never` when retrying was already done behind it
NEVER = "never"
GRPC_TIMEOUT = "grpc-timeout"
# Envoy tells the service behind it how long it will wait.
ENVOY_TIMEOUT = "x-envoy-expected-rq-timeout-ms"
# A gateway says how often it tried, where it tries again by itself.
GATEWAY_ATTEMPTS = "x-moreton-attempts"
ENVOY_ATTEMPT = "x-envoy-attempt-count"

# The gRPC protocol allows eight digits.
_GRPC = re.compile(r"([0-9]{1,8})([HMSmun])")
_GRPC_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_GRPC_DIGITS_MAX = 10**8
_ATTEMPT_MAX = 1000


class Criticality(StrEnum):
    """What may be dropped first when not all can be served. Source: Google SRE book, chapter 21."""

    CRITICAL_PLUS = "critical-plus"
    CRITICAL = "critical"
    SHEDDABLE_PLUS = "sheddable-plus"
    SHEDDABLE = "sheddable"


def read_timeout(headers: Mapping[str, str]) -> float | None:
    """How long the caller will wait, in seconds: the least of what the fields of *headers* say.

    Names in *headers* are lower-case, or its look-up ignores case. Malformed values say nothing.
    """
    said = []
    for name in (TIMEOUT, ENVOY_TIMEOUT):
        value = headers.get(name, "")
        if value.isascii() and value.isdigit() and len(value) <= 10 and int(value):
            said.append(int(value) / 1000)
    found = _GRPC.fullmatch(headers.get(GRPC_TIMEOUT, ""))
    if found is not None:
        said.append(int(found[1]) * _GRPC_UNITS[found[2]])
    return min(said, default=None)


def format_timeout(seconds: float) -> str:
    """The value of `x-moreton-timeout-ms`: whole milliseconds, at least 1."""
    return str(max(1, int(seconds * 1000)))


def format_grpc_timeout(seconds: float) -> str:
    """The value of `grpc-timeout`: at most eight digits, rounded down, at least 1 ns."""
    for unit in ("n", "u", "m", "S", "M", "H"):
        value = int(seconds / _GRPC_UNITS[unit])
        if value < _GRPC_DIGITS_MAX:
            return f"{max(1, value)}{unit}"
    return f"{_GRPC_DIGITS_MAX - 1}H"


def read_attempt(headers: Mapping[str, str]) -> int:
    """Which attempt a request is; 1 when it does not say."""
    value = headers.get(ATTEMPT, "")
    if value.isascii() and value.isdigit() and len(value) <= 4:
        return min(max(1, int(value)), _ATTEMPT_MAX)
    return 1


def read_criticality(headers: Mapping[str, str]) -> Criticality:
    """How critical a request is; critical when it does not say, or says what no one defined."""
    try:
        return Criticality(headers.get(CRITICALITY, Criticality.CRITICAL))
    except ValueError:
        return Criticality.CRITICAL

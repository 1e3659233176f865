"""The gRPC probe: `grpc.health.v1.Health/Check`.

The two messages are one field each and written by hand: no generated code is needed.
Source: the gRPC health checking protocol, grpc/doc/health-checking.md.
"""

from __future__ import annotations

import grpc
import grpc.aio

from moreton.registry.core.checks import GrpcProbe
from moreton.registry.core.instance import Instance
from moreton.registry.core.standing import CheckStatus
from moreton.registry.health.looking import Finding, where

_METHOD = "/grpc.health.v1.Health/Check"
_SERVICE_FIELD = b"\x0a"  # field 1, length-delimited
_STATUS_FIELD = b"\x08"  # field 1, a varint
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1
_OPTIONS = (
    ("grpc.enable_retries", 0),
    # A connection of its own each time: whether one can be made is part of the question.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


async def look_grpc(instance: Instance, probe: GrpcProbe) -> Finding:
    """Whether the server says SERVING of the service."""
    host, port = where(instance, probe.target)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    async with _channel(place, tls=probe.tls) as channel:
        ask = channel.unary_unary(_METHOD)
        try:
            answer: bytes = await ask(_request(probe.service), wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            return Finding(CheckStatus.CRITICAL, _describe(error, probe.service))
    number = _status(answer)
    said = _STATUSES.get(number, f"status {number}")
    status = CheckStatus.PASSING if number == _SERVING else CheckStatus.CRITICAL
    return Finding(status, said)


def _channel(place: str, *, tls: bool) -> grpc.aio.Channel:
    if tls:
        return grpc.aio.secure_channel(place, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return grpc.aio.insecure_channel(place, options=_OPTIONS)


def _request(service: str) -> bytes:
    """`HealthCheckRequest`; a length below 128 is one byte of a varint, the next has seven more."""
    name = service.encode()
    if not name:
        return b""
    size = len(name)
    length = bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))
    return _SERVICE_FIELD + length + name


def _status(answer: bytes) -> int:
    """The status of `HealthCheckResponse`; a field that is not there is 0."""
    return answer[1] if answer[:1] == _STATUS_FIELD and len(answer) > 1 else 0


def _describe(error: grpc.aio.AioRpcError, service: str) -> str:
    code = error.code()
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return "it does not speak the gRPC health protocol"
    if code is grpc.StatusCode.NOT_FOUND:
        return f'it knows no service "{service}"'
    return f"{code.name}: {error.details()}"

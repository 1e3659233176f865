"""Health checks as `moreton.yaml` and the HTTP API write them: the same form.

checks:
  - {http: /health, interval: 1s, timeout: 500ms, failures: 2}
  - {id: port, tcp: {}}
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from moreton.config import Duration, Section
from moreton.registry.core.checks import (
    Check,
    CommandProbe,
    GrpcProbe,
    HttpProbe,
    Probe,
    Target,
    TcpProbe,
    TtlProbe,
)
from moreton.registry.core.checks.documents import parse_statuses
from moreton.registry.core.checks.values import (
    FAILURES_DEFAULT,
    INTERVAL_DEFAULT,
    SUCCESSES_DEFAULT,
    usual_timeout,
)
from moreton.registry.core.standing import CheckStatus

_KINDS = ("http", "tcp", "grpc", "command", "ttl")


def _short(key: str) -> BeforeValidator:
    """Text alone stands for the mapping that has it under *key*."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


def _statuses(value: Any) -> tuple[int, int]:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{value!r} is not a status; write one like 200 or 200-399")  # noqa: TRY004 - pydantic's
    return parse_statuses(value)


class TargetModel(Section):
    """Where to look; without these at the instance's own address and port."""

    host: str = ""
    port: Annotated[int, Field(ge=1, le=65_535)] | str = ""  # a number, or a named port

    @property
    def target(self) -> Target:
        """The core's value."""
        return Target(self.host, self.port)


class HttpModel(TargetModel):
    """A request that has to be answered with a status in `expect`."""

    path: str = "/"
    method: str = "GET"
    expect: list[Annotated[tuple[int, int], BeforeValidator(_statuses)]] = [(200, 299)]
    headers: dict[str, str] = {}
    body: str = ""
    tls: bool = False
    verify: bool = True


class GrpcModel(TargetModel):
    """The gRPC health protocol."""

    service: str = ""
    tls: bool = False


class CheckModel(Section):
    """How the health of an instance is looked at; exactly one of the kinds."""

    id: str | None = None  # default: the kind
    http: Annotated[HttpModel | None, _short("path")] = None
    tcp: TargetModel | None = None
    grpc: Annotated[GrpcModel | None, _short("service")] = None
    command: list[str] | None = None
    ttl: Duration | None = None
    interval: Duration = INTERVAL_DEFAULT
    timeout: Duration | None = None  # default: half the interval, at most 2s
    failures: int = FAILURES_DEFAULT
    successes: int = SUCCESSES_DEFAULT
    initial: Literal["passing", "warning", "critical"] = "critical"
    deregister_after: Duration | None = None

    @model_validator(mode="after")
    def _holds(self) -> Self:
        given = [name for name in _KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            had = " and ".join(given) or f"none of {', '.join(_KINDS)}"
            raise ValueError(f"it has {had}; give it exactly one of {', '.join(_KINDS)}")
        self.as_value()
        return self

    def as_value(self) -> Check:
        """The core's value."""
        kind = next(name for name in _KINDS if getattr(self, name) is not None)
        return Check(
            id=self.id if self.id is not None else kind,
            probe=self._probe(),
            interval=self.interval,
            timeout=usual_timeout(self.interval) if self.timeout is None else self.timeout,
            failures=self.failures,
            successes=self.successes,
            initial=CheckStatus(self.initial),
            deregister_after=self.deregister_after,
        )

    def _probe(self) -> Probe:
        if self.http is not None:
            http = self.http
            return HttpProbe(
                path=http.path,
                method=http.method,
                expect=tuple(http.expect),
                headers=http.headers,
                body=http.body,
                tls=http.tls,
                verify=http.verify,
                target=http.target,
            )
        if self.grpc is not None:
            return GrpcProbe(self.grpc.service, tls=self.grpc.tls, target=self.grpc.target)
        if self.command is not None:
            return CommandProbe(tuple(self.command))
        if self.ttl is not None:
            return TtlProbe(self.ttl)
        assert self.tcp is not None, "there is exactly one"
        return TcpProbe(self.tcp.target)

"""The section `migrations` of `moreton.yaml`, as models."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from moreton.config import Duration, Name, Percentage, Section
from moreton.strangler.rollout.core.plan import (
    ErrorGate,
    Gate,
    LatencyGate,
    MetricGate,
    Plan,
    Stage,
)

_STAGES_MAX = 50
_METRICS_MAX = 20
_REQUESTS_MAX = 1_000_000_000


class StageModel(Section):
    """A share of the requests, and what ends it; what is left out is as the migration says."""

    share: Percentage
    hold: Duration | None = None
    requests: Annotated[int, Field(ge=0, le=_REQUESTS_MAX)] | None = None
    manual: bool = False
    no_return: bool = False

    @field_validator("share")
    @classmethod
    def _some(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("0% of the requests prove nothing; begin with 1%")
        return value


class ErrorsModel(Section):
    """How many more of the candidate's answers may fail, of a hundred."""

    tolerance: Percentage = 0.01

    @field_validator("tolerance")
    @classmethod
    def _some(cls, value: float) -> float:
        return _tolerable(value)


class LatencyModel(Section):
    """How much longer the candidate may take at a quantile."""

    quantile: Percentage = 0.95
    tolerance: Percentage = 0.1

    @field_validator("quantile")
    @classmethod
    def _inside(cls, value: float) -> float:
        if not 0 < value < 1:
            raise ValueError(f"{value:.0%} is no quantile; choose one between, like 95%")
        return value

    @field_validator("tolerance")
    @classmethod
    def _some(cls, value: float) -> float:
        return _tolerable(value)


class MetricModel(Section):
    """A Prometheus query, and where its one value has to be."""

    prometheus: str
    query: Annotated[str, Field(min_length=1)]
    at_least: float | None = None
    at_most: float | None = None
    failures: Annotated[int, Field(ge=1, le=1000)] = 3

    @field_validator("at_least", "at_most", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return float(value) if type(value) is int else value

    @field_validator("prometheus")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{value!r} is not a URL; write one like http://127.0.0.1:9090")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        low, high = self.at_least, self.at_most
        if low is None and high is None:
            raise ValueError("it has no bound, so every value passes; give at_least or at_most")
        if low is not None and high is not None and low > high:
            raise ValueError(f"nothing is at least {low:g} and at most {high:g}; swap them")
        return self


class GatesModel(Section):
    """What has to be proven in every stage; `null` takes a gate away."""

    errors: ErrorsModel | None = ErrorsModel()
    latency: LatencyModel | None = LatencyModel()
    metrics: Annotated[dict[Name, MetricModel], Field(max_length=_METRICS_MAX)] = {}

    def as_values(self) -> tuple[Gate, ...]:
        """The core's values."""
        found: list[Gate] = []
        if self.errors is not None:
            found.append(ErrorGate(self.errors.tolerance))
        if self.latency is not None:
            found.append(LatencyGate(self.latency.quantile, self.latency.tolerance))
        found += [
            MetricGate(name, one.prometheus, one.query, one.at_least, one.at_most, one.failures)
            for name, one in self.metrics.items()
        ]
        return tuple(found)


def _stage(value: Any) -> Any:
    return {"share": value} if isinstance(value, str | int | float) else value


class MigrationModel(Section):
    """How the requests of a route move from one of its services to the other."""

    route: Name
    from_: Annotated[Name, Field(alias="from")]
    to: Name
    stages: Annotated[
        list[Annotated[StageModel, BeforeValidator(_stage)]],
        Field(min_length=1, max_length=_STAGES_MAX),
    ]
    hold: Duration = timedelta(minutes=1)
    requests: Annotated[int, Field(ge=0, le=_REQUESTS_MAX)] = 100
    soak: Duration = timedelta(minutes=10)
    gates: GatesModel = GatesModel()
    confidence: Percentage = 0.99

    @field_validator("stages")
    @classmethod
    def _rise(cls, stages: list[StageModel]) -> list[StageModel]:
        shares = [each.share for each in stages]
        shown = ", ".join(f"{share * 100:g}%" for share in shares)
        if shares != sorted(set(shares)):
            raise ValueError(f"{shown} do not rise; let each stage take more than the one before")
        if shares[-1] != 1:
            raise ValueError(f"{shown} do not end at 100%; let the last one take all")
        return stages

    @field_validator("confidence")
    @classmethod
    def _sure(cls, value: float) -> float:
        if not 0.5 <= value < 1:
            raise ValueError(f"{value:.4%} cannot be had or is worth nothing; choose 90% to 99.99%")
        return value

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.from_ == self.to:
            raise ValueError(f"it moves from {self.to!r} to itself; name the new service in `to`")
        if not self.gates.as_values() and not all(each.manual for each in self.stages):
            raise ValueError(
                "it has no gate, so nothing is proven; keep one, or make stages manual"
            )
        return self

    def as_value(self, name: str) -> Plan:
        """The core's value."""
        stages = [self._as_stage(each) for each in self.stages]
        if self.soak:
            stages.append(Stage("soak", 1.0, self.soak, self.requests))
        gates = self.gates.as_values()
        return Plan(name, self.route, self.from_, self.to, tuple(stages), gates, self.confidence)

    def _as_stage(self, model: StageModel) -> Stage:
        return Stage(
            name=f"{model.share * 100:g}%",
            share=model.share,
            hold=self.hold if model.hold is None else model.hold,
            requests=self.requests if model.requests is None else model.requests,
            manual=model.manual,
            no_return=model.no_return,
        )


def _tolerable(value: float) -> float:
    if value <= 0:
        raise ValueError("0% can never be proven; tolerate a little, like 1%")
    return value

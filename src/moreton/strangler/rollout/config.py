"""The section `migrations` of `moreton.yaml`, as models."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from moreton.config import Duration, Name, Percentage, Section
from moreton.config.words import HostText, read_header_name
from moreton.gateway.core.moves import OWN_COOKIE, Cohort, Trait, TraitKind
from moreton.strangler.rollout.core.plan import (
    DifferenceGate,
    ErrorGate,
    Gate,
    LatencyGate,
    MetricGate,
    Plan,
    Stage,
)
from moreton.strangler.rollout.core.webhooks import Webhook
from moreton.strangler.rollout.webhooks import WebhookModel

_STAGES_MAX = 50
_METRICS_MAX = 20
_VALUES_MAX = 100
_WEBHOOKS_MAX = 20
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
SHADOW = "shadow"
_REQUESTS_MAX = 1_000_000_000


class TraitModel(Section):
    """What users are told apart by: one of a header, a cookie, the host, the client's address."""

    header: str | None = None
    cookie: str | None = None
    host: Literal[True] | None = None
    address: Literal[True] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("give one of header, cookie, host and address")
        _checked(self.header, self.cookie)
        return self

    def as_value(self) -> Trait:
        """The core's value."""
        (kind,) = self.model_fields_set
        return _trait(kind, getattr(self, kind))


def _sticky(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """`false` is a trait of nobody: as a type of its own, each fault would be told twice."""
    return TraitModel.model_construct() if value is False else read(value)


_Sticky = WrapValidator(_sticky, json_schema_input_type=TraitModel | Literal[False] | None)


class CohortModel(Section):
    """Users who go first: those with one of these values of a header or cookie, or one of hosts."""

    header: str | None = None
    cookie: str | None = None
    is_: Annotated[str | list[str] | None, Field(alias="is")] = None
    hosts: list[HostText] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        named = self.model_fields_set & {"header", "cookie"}
        if self.hosts is not None and not named and self.is_ is None:
            count = len(self.hosts)
        elif len(named) == 1 and self.hosts is None:
            count = 1 if isinstance(self.is_, str) else len(self.is_ or ())
        else:
            raise ValueError("give a header or a cookie and what it `is`, or give `hosts`")
        if not 1 <= count <= _VALUES_MAX:
            raise ValueError(f"it has {count} values; give 1 to {_VALUES_MAX}")
        _checked(self.header, self.cookie)
        return self

    def as_value(self) -> Cohort:
        """The core's value."""
        if self.hosts is not None:
            return Cohort(Trait(TraitKind.HOST), tuple(self.hosts))
        kind, name = ("header", self.header) if self.header else ("cookie", self.cookie)
        values = [self.is_] if isinstance(self.is_, str) else self.is_ or []
        return Cohort(_trait(kind, name), tuple(values))


class StageModel(Section):
    """Who goes to the candidate, and what ends it; what is left out is as the migration says.

    Those of `users` do, and of the others the `share`; with neither it gets copies only.
    """

    share: Percentage = 0.0
    users: CohortModel | None = None
    copies: Percentage | None = None
    hold: Duration | None = None
    requests: Annotated[int, Field(ge=0, le=_REQUESTS_MAX)] | None = None
    manual: bool = False
    no_return: bool = False

    @field_validator("share")
    @classmethod
    def _some(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("0% of the requests prove nothing; begin with 1%, or with `shadow`")
        return value

    @model_validator(mode="after")
    def _copied(self) -> Self:
        if self.copies and self.share == 1:
            raise ValueError("at 100% the old service answers nobody; copy in stages before it")
        return self


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


class DifferencesModel(Section):
    """How many of the compared answers may differ, of a hundred."""

    tolerance: Percentage = 0.001

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
    differences: DifferencesModel | None = DifferencesModel()  # where there are copies
    metrics: Annotated[dict[Name, MetricModel], Field(max_length=_METRICS_MAX)] = {}

    def as_values(self, *, compares: bool) -> tuple[Gate, ...]:
        """The core's values; *compares* when there is a stage with copies."""
        found: list[Gate] = []
        if self.errors is not None:
            found.append(ErrorGate(self.errors.tolerance))
        if self.latency is not None:
            found.append(LatencyGate(self.latency.quantile, self.latency.tolerance))
        if self.differences is not None and compares:
            found.append(DifferenceGate(self.differences.tolerance))
        found += [
            MetricGate(name, one.prometheus, one.query, one.at_least, one.at_most, one.failures)
            for name, one in self.metrics.items()
        ]
        return tuple(found)


def _stage(value: Any) -> Any:
    if value == SHADOW:
        return {}
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
    copies: Percentage = 0.1
    answer_within: Duration = timedelta(seconds=30)
    sticky: Annotated[TraitModel | None, _Sticky] = None  # the gateway's own cookie
    gates: GatesModel = GatesModel()
    confidence: Percentage = 0.99
    webhooks: Annotated[dict[Name, WebhookModel], Field(max_length=_WEBHOOKS_MAX)] = {}

    @field_validator("stages")
    @classmethod
    def _rise(cls, stages: list[StageModel]) -> list[StageModel]:
        shares = [each.share for each in stages]
        shown = ", ".join(f"{share * 100:g}%" for share in shares)
        for number, each in enumerate(stages[1:], start=1):
            before = stages[number - 1]
            if each.share < before.share or (each.share == before.share and each.users is None):
                raise ValueError(
                    f"{shown} do not rise; let each stage take more than the one before"
                )
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
        shadow = any(_is_shadow(each) for each in self.stages)
        if shadow and (self.gates.differences is None or not self.copies):
            raise ValueError(
                "its shadow stage compares nothing; keep the gate on differences and some copies"
            )
        gates = self.gates.as_values(compares=self._compares())
        held = self.gates.errors is not None or self.gates.latency is not None
        if held and self.stages[0].share == 1:
            raise ValueError(
                "its first stage takes all, so that nobody answers beside the new service and its "
                "gates cannot pass; begin with less, or take away the gates errors and latency"
            )
        if not gates and not all(each.manual for each in self.stages):
            raise ValueError(
                "it has no gate, so nothing is proven; keep one, or make stages manual"
            )
        return self

    def as_value(self, name: str) -> Plan:
        """The core's value."""
        stages = [self._as_stage(each) for each in self.stages]
        if self.soak:
            hold = max(self.soak, self.answer_within)
            stages.append(Stage("soak", 1.0, hold, self.requests))
        gates = self.gates.as_values(compares=self._compares())
        return Plan(
            name,
            self.route,
            self.from_,
            self.to,
            tuple(stages),
            gates,
            self.confidence,
            self._sticky(),
            self.answer_within or None,
        )

    def webhooks_in(self, folder: Path) -> tuple[Webhook, ...]:
        """Whom to tell what happens; files lie in *folder*."""
        return tuple(each.as_value(name, folder) for name, each in self.webhooks.items())

    def _compares(self) -> bool:
        asked = any(each.copies for each in self.stages)
        return asked or any(_is_shadow(each) for each in self.stages)

    def _sticky(self) -> Trait | None:
        if self.sticky is None:
            return OWN_COOKIE
        return self.sticky.as_value() if self.sticky.model_fields_set else None

    def _as_stage(self, model: StageModel) -> Stage:
        copies = self.copies if model.copies is None and _is_shadow(model) else model.copies
        cohort = None if model.users is None else model.users.as_value()
        hold = self.hold if model.hold is None else model.hold
        if not _is_shadow(model):
            hold = max(hold, self.answer_within)  # what is silent must have had time to fail
        return Stage(
            name=_name(model, cohort),
            share=model.share,
            hold=hold,
            requests=self.requests if model.requests is None else model.requests,
            manual=model.manual,
            no_return=model.no_return,
            cohort=cohort,
            copies=copies or 0.0,
        )


def _is_shadow(model: StageModel) -> bool:
    return not model.share and model.users is None


def _name(model: StageModel, cohort: Cohort | None) -> str:
    if cohort is None:
        return f"{model.share * 100:g}%" if model.share else SHADOW
    rest = f" and {model.share * 100:g}%" if model.share else ""
    return f"{cohort}{rest}"


def _trait(kind: str, name: Any) -> Trait:
    if not isinstance(name, str):
        return Trait(TraitKind(kind))
    return Trait(TraitKind(kind), name.lower() if kind == "header" else name)


def _checked(header: str | None, cookie: str | None) -> None:
    if header is not None:
        read_header_name(header)
    if cookie is not None and not _COOKIE_NAME.fullmatch(cookie):
        raise ValueError(f"{cookie!r} is no cookie's name; use letters, digits, - and _")


def _tolerable(value: float) -> float:
    if value <= 0:
        raise ValueError("0% can never be proven; tolerate a little, like 1%")
    return value

"""The section `limits`: rules by name."""

from __future__ import annotations

from datetime import UTC, timedelta, tzinfo
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from moreton.config import Duration, Name, Percentage, Section
from moreton.config.words import Condition, HostText, PathText, read_header_name, text
from moreton.ratelimit.config.bounds import BoundsText
from moreton.ratelimit.config.words import (
    AlgorithmWord,
    AsnText,
    CountryText,
    DaysText,
    HoursText,
    NetworkText,
    OneOrMany,
    PartText,
    StatusText,
    Written,
    ZoneText,
    read_off,
)
from moreton.ratelimit.core.fields import FieldStyle
from moreton.ratelimit.core.rules.bounds import AdmissionBound, Bound
from moreton.ratelimit.core.rules.values import (
    ALL_DAYS,
    DAY_MINUTES,
    Cost,
    FailMode,
    Hours,
    LimitRule,
    Match,
    Missing,
    Mode,
    Place,
    Scope,
    Verdict,
)
from moreton.resilience.core.headers import Criticality

COST_MAX = 2**31
QUEUE_DEFAULT = 100
_WAIT_DEFAULT = timedelta(seconds=1)
_TOGETHER = frozenset({"none", "everyone"})

_COSTS = ("fixed", "header", "answers", "answer_header")
_SAID = frozenset({"header", "answer_header"})
_OUTAGES: dict[str, dict[str, object]] = {
    "open": {"refuse": "0%"},
    "closed": {"refuse": "100%"},
    "keep": {"keep": True},
}

HeaderName = Annotated[str, *text(lambda value: read_header_name(str(value)), "x-tenant")]
Method = Annotated[str, *text(lambda value: str(value).upper(), "POST")]


class MatchModel(Section):
    """Conditions, of which all that are there have to be fulfilled; a list means one of it."""

    gateways: Annotated[list[Name], OneOrMany()] = []
    services: Annotated[list[Name], OneOrMany()] = []
    routes: Annotated[list[Name], OneOrMany()] = []
    hosts: Annotated[list[HostText], OneOrMany()] = []
    methods: Annotated[list[Method], OneOrMany()] = []
    paths: Annotated[list[PathText], OneOrMany()] = []
    headers: dict[HeaderName, Condition] = {}
    claims: dict[str, Condition] = {}
    api_keys: Annotated[list[Name], OneOrMany()] = []
    tiers: Annotated[list[Name], OneOrMany()] = []
    addresses: Annotated[list[NetworkText], OneOrMany()] = []
    countries: Annotated[list[CountryText], OneOrMany()] = []
    asns: Annotated[list[AsnText], OneOrMany()] = []
    hours: Annotated[list[HoursText], OneOrMany()] = []
    days: Annotated[list[DaysText], OneOrMany()] = []

    @model_validator(mode="after")
    def _something_in_each(self) -> Self:
        for name in sorted(self.model_fields_set):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty, so nothing would match; leave it out for any")
        return self

    def as_value(self) -> Match:
        """The core's value."""
        days = frozenset[int]().union(*self.days) or ALL_DAYS
        spans = self.hours or ([(0, DAY_MINUTES)] if self.days else [])
        return Match(
            gateways=frozenset(self.gateways),
            services=frozenset(self.services),
            routes=frozenset(self.routes),
            hosts=frozenset(self.hosts),
            methods=frozenset(self.methods),
            paths=tuple(self.paths),
            headers=tuple(one.as_value(key) for key, one in sorted(self.headers.items())),
            claims=tuple(one.as_value(key) for key, one in sorted(self.claims.items())),
            api_keys=frozenset(self.api_keys),
            tiers=frozenset(self.tiers),
            addresses=tuple(self.addresses),
            countries=frozenset(self.countries),
            asns=frozenset(self.asns),
            hours=tuple(Hours(begin, end, days) for begin, end in spans),
        )


class CostModel(Section):
    """What a request costs, when it is not the same for all."""

    fixed: Annotated[int, Field(ge=1, le=COST_MAX)] | None = None
    header: HeaderName | None = None
    answers: Annotated[list[StatusText], OneOrMany(), Field(min_length=1)] | None = None
    answer_header: HeaderName | None = None
    max: Annotated[int, Field(ge=1, le=COST_MAX)] | None = None
    default: Annotated[int, Field(ge=0, le=COST_MAX)] = 1  # without the header

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in _COSTS if getattr(self, kind) is not None]
        if len(given) != 1:
            had = " and ".join(given) or f"none of {', '.join(_COSTS)}"
            raise ValueError(f"it has {had}; give it exactly one of {', '.join(_COSTS)}")
        if self.max is not None and given[0] not in _SAID:
            raise ValueError(f"max is of a header, and it has {given[0]}; remove max")
        if given[0] in _SAID and self.max is None:
            raise ValueError("a header says any number; give max, the most that one may cost")
        if self.max is not None and self.default > self.max:
            raise ValueError(f"default is {self.default}, above max {self.max}; lower it")
        return self

    def as_value(self) -> Cost:
        """The core's value."""
        if self.fixed is not None:
            return Cost(self.fixed, most=self.fixed)
        return Cost(
            self.default,
            header=self.header or "",
            answers=tuple(self.answers or ()),
            answer_header=self.answer_header or "",
            most=self.default if self.max is None else self.max,
        )


class OutageModel(Section):
    """What happens while those who count together cannot reach each other."""

    share: Percentage | None = None  # each decides alone, by so much of the limit
    refuse: Percentage | None = None  # of the requests
    keep: Literal[True] | None = None  # each goes on with the share that it was handed out

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [each for each in (self.share, self.refuse, self.keep) if each is not None]
        if len(given) != 1:
            raise ValueError("give exactly one; use share, refuse or keep")
        if self.share == 0:
            raise ValueError("share is 0%, of which nothing would pass; write closed")
        return self

    def as_value(self) -> FailMode:
        """The core's value."""
        return FailMode(refuse=self.refuse or 0.0, local=self.share, keep=bool(self.keep))


def _cost(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= COST_MAX:
            raise ValueError(f"a cost of {value} counts nothing; give 1 to {COST_MAX}")
        return {"fixed": value}
    if not isinstance(value, dict | CostModel):
        raise ValueError(f"{value!r} is not a cost; write a whole number")  # noqa: TRY004 - pydantic's
    return value


def _outage(value: Any) -> Any:
    if isinstance(value, str):
        if value not in _OUTAGES:
            raise ValueError(f"{value!r} is no way out; write open, closed, keep or {{share: 25%}}")
        return _OUTAGES[value]
    return value


_OUTAGE = {"enum": [*_OUTAGES]}
Outage = Annotated[OutageModel, Written(_outage, _OUTAGE)]


def _by(value: Any) -> Any:
    if isinstance(value, str) and value in _TOGETHER:
        return []
    return value if isinstance(value, list) else [value]


class TierLimitModel(Section):
    """What a tier, and those within it, may instead."""

    limit: BoundsText
    burst: Annotated[int, Field(ge=1)] | None = None
    algorithm: AlgorithmWord | None = None


def _tier_limit(value: Any) -> Any:
    return value if isinstance(value, dict) and "limit" in value else {"limit": value}


_RATE_TEXT = {"type": "string", "examples": ["100/s"]}
TierLimit = Annotated[TierLimitModel, Written(_tier_limit, _RATE_TEXT, {"const": 0})]


class LimitModel(Section):
    """One rule."""

    meant = {"rate": "limit", "rates": "limit", "limits": "limit", "key": "by", "action": "verdict"}
    limit: BoundsText
    burst: Annotated[int, Field(ge=1)] | None = None
    algorithm: AlgorithmWord | None = None
    match: MatchModel = MatchModel()
    unless: Annotated[MatchModel | None, Field(alias="except")] = None
    by: Annotated[list[PartText], Written(_by, {"type": "string", "examples": ["address"]})] = []
    missing: Literal["address", "together", "skip"] = "address"
    tiers: dict[Name, Literal["unlimited"] | TierLimit] = {}
    cost: Annotated[CostModel, Written(_cost, {"type": "integer"})] = CostModel(fixed=1)
    count: Literal["requests", "connections"] = "requests"
    verdict: Literal["reject", "delay", "drop"] = "reject"
    wait: Duration | None = None
    queue: Annotated[int, Field(ge=1, le=100_000)] | None = None
    status: Literal[429, 503] = 429
    headers: Annotated[
        Literal["draft-10", "draft-03", "legacy", "off"], BeforeValidator(read_off)
    ] = "draft-10"
    mode: Annotated[Literal["enforce", "shadow", "off"], BeforeValidator(read_off)] = "enforce"
    percent: Percentage = 1.0
    at: Literal["gateway", "service"] = "gateway"
    scope: Literal["local", "machine", "quota", "exact"] = "local"
    on_outage: Outage | None = None  # open; keep where there are shares
    criticality: (
        Literal["as-sent", "critical-plus", "critical", "sheddable-plus", "sheddable"] | None
    ) = None
    zone: ZoneText | None = None

    @model_validator(mode="after")
    def _holds(self) -> Self:
        for key in ("wait", "queue"):
            if getattr(self, key) is not None and self.verdict != "delay":
                raise ValueError(
                    f"{key} is of a delay, and the verdict is {self.verdict}; write "
                    f"`verdict: delay`, or remove {key}"
                )
        if self.wait == timedelta(0):
            raise ValueError("wait is 0, so that nobody would wait; write `verdict: reject`")
        if self.verdict == "drop" and {"status", "headers"} & self.model_fields_set:
            raise ValueError("what is dropped gets no answer; remove status and headers")
        if not self.limit and (self.burst or self.algorithm):
            raise ValueError("a limit of 0 lets nothing pass; remove burst and algorithm")
        rates = [one for one in self.limit if one.rate is not None]
        if self.burst is not None and len(rates) > 1:
            raise ValueError(
                f"burst is {self.burst}, and it has several rates; write each as "
                "{rate: 10/s, burst: 20}"
            )
        if self.limit and not rates and (self.burst is not None or self.algorithm is not None):
            raise ValueError("burst and algorithm are of a rate, and it has none; remove them")
        if len(set(self.by)) < len(self.by):
            raise ValueError("by has one thing twice; keep one of them")
        if self.percent == 0:
            raise ValueError("percent is 0%, so that it never acts; write `mode: shadow`")
        rule = self.as_value("")
        for bounds in (rule.bounds, *rule.tiers.values()):
            for one in bounds or ():
                if not isinstance(one, AdmissionBound):
                    one.as_limit("")
        return self

    @model_validator(mode="after")
    def _keeps_a_share(self) -> Self:
        if self.on_outage is not None and self.on_outage.keep and not self._is_shared:
            raise ValueError(
                "keep is of a share that gateways are handed out; write `scope: quota` for a "
                "gateway, or open or closed"
            )
        return self

    @property
    def _is_shared(self) -> bool:
        return self.at == "gateway" and self.scope == "quota"

    def as_value(self, name: str) -> LimitRule:
        """The core's value."""
        delayed = self.verdict == "delay"
        wait = self.wait if self.wait is not None else _WAIT_DEFAULT
        outage = self.on_outage
        if outage is None:
            told = _OUTAGES["keep" if self._is_shared else "open"]
            outage = OutageModel.model_validate(told)
        return LimitRule(
            name,
            self._bounds(self.limit, self.burst, self.algorithm),
            match=self.match.as_value(),
            unless=None if self.unless is None else self.unless.as_value(),
            by=tuple(self.by),
            missing=Missing(self.missing),
            tiers={tier: self._tier(one) for tier, one in self.tiers.items()},
            cost=self.cost.as_value(),
            connections=self.count == "connections",
            verdict=Verdict(self.verdict),
            wait=wait if delayed else timedelta(0),
            queue=(self.queue or QUEUE_DEFAULT) if delayed else 0,
            status=self.status,
            fields=FieldStyle(self.headers),
            mode=Mode(self.mode),
            share=self.percent,
            at=Place(self.at),
            scope=Scope(self.scope),
            outage=outage.as_value(),
            shed=self.criticality is not None,
            criticality=None
            if self.criticality in {None, "as-sent"}
            else Criticality(self.criticality),
            zone=self.zone or UTC,
        )

    def _tier(self, one: Literal["unlimited"] | TierLimitModel) -> tuple[Bound, ...] | None:
        if isinstance(one, str):
            return None
        return self._bounds(one.limit, one.burst, one.algorithm or self.algorithm)

    def _bounds(
        self, models: list[Any], burst: int | None, algorithm: str | None
    ) -> tuple[Bound, ...]:
        zone: tzinfo | None = self.zone
        return tuple(one.as_value(burst, algorithm, zone) for one in models)

"""Rules: which requests count by which key, and what happens to those that are too many."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from threading import Lock
from typing import Protocol

from moreton.kernel.arguments import check_duration, check_kind, check_number
from moreton.kernel.rng import Rng, system_rng
from moreton.ratelimit.core.addresses import V6_BITS, client_address, key_of, trusted_proxies
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.fields import FieldStyle, fields_of
from moreton.ratelimit.core.limit import NEVER
from moreton.ratelimit.core.rules.seen import Caller
from moreton.ratelimit.core.rules.values import Mode
from moreton.ratelimit.limiter import Keys, Limiter
from moreton.ratelimit.seeing.core.report import Verdict
from moreton.resilience.core.headers import Criticality, read_criticality
from moreton.resilience.layers.adaptive import SHARES

__all__ = [
    "Caller",
    "Excess",
    "Mode",
    "Refusal",
    "Rule",
    "RuleSource",
    "RuleStatistics",
    "SaidCost",
    "Under",
    "ban_refusal",
    "banned_problem",
    "by_address",
    "by_header",
    "everyone",
    "problem_of",
]

_ZERO = timedelta(0)
_DIGITS_MAX = 18
PROBLEM = "application/problem+json"
_BANNED = "banned"
_TYPES = "https://iana.org/assignments/http-problem-types#"


class Excess(StrEnum):
    """What happens to a request that is too many: it is told so, or its connection is ended."""

    REJECT = "reject"
    DROP = "drop"


KeyOf = Callable[[Caller], Keys | None]


def by_address(*, trusted: Sequence[str] = (), v6_bits: int = V6_BITS) -> KeyOf:
    """By the client's address; *trusted* are the networks of your own proxies.

    Without them X-Forwarded-For says nothing, as anyone can write it. `"unix"` stands for a proxy
    that comes over a Unix socket, which has no address: without it all clients behind are one.
    """
    known = trusted_proxies(trusted)

    def key(caller: Caller) -> str:
        forwarded = caller.headers.get("x-forwarded-for", "")
        hops = forwarded.split(",") if forwarded else []
        return key_of(client_address(caller.address, hops, known), v6_bits)

    return key


def by_header(name: str) -> KeyOf:
    """By the value of a header field; requests without it are not counted."""
    lower = name.lower()
    return lambda caller: caller.headers.get(lower)


def everyone(_: Caller) -> str:
    """All together."""
    return ""


@dataclass(slots=True)
class RuleStatistics:
    """What a rule decided so far; *shadowed* would have been refused, had it been enforced."""

    allowed: int = 0
    delayed: int = 0
    refused: int = 0
    shadowed: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is too many; *drop*: end the connection, too."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    decision: Decision
    drop: bool = False
    banned: str = ""  # what is said instead, to those who never pass

    @property
    def detail(self) -> str:
        """One line for people."""
        return self.banned or self.decision.explain()


@dataclass(frozen=True, slots=True)
class Under:
    """The rules that a request is under, each with its keys; or at once its *refusal*."""

    rules: Sequence[tuple[Rule, Keys]] = ()
    refusal: Refusal | None = None


class RuleSource(Protocol):
    """Says which rules a request is under: one rule alone, or a book of them."""

    @property
    def may_wait(self) -> bool:
        """Whether a request may have to wait for its turn."""
        ...

    def under(self, caller: Caller) -> Under:
        """The rules that *caller* is under."""
        ...


@dataclass(frozen=True, slots=True)
class SaidCost:
    """What a *header* says that a request cost, up to *most*; without it *default*."""

    header: str
    most: int
    default: int = 1

    def read(self, header: Callable[[str], str | None]) -> int:
        """The cost; what is no number says nothing, and more than *most* is *most*."""
        value = header(self.header) or ""
        if not (value.isascii() and value.isdigit() and len(value) <= _DIGITS_MAX):
            return self.default
        return min(int(value), self.most)


@dataclass(slots=True)
class Rule:
    """Requests count with *limiter* by *key*, which says `None` for those that do not.

    Those that are too many wait up to *wait*, where that helps, and are refused else with *status*:
    429, or 503 for what is nobody's fault. A rule in mode shadow counts and reports, and never
    acts; *share* in [0, 1] of the requests are enforced. With *charge* the limit counts answers: a
    request passes while one is left, and its status says what it costs (only failed logins).

    *name* is what metrics call it, that of its limits unless given; where keys are *secret*, as API
    keys are, nobody is shown them.
    """

    limiter: Limiter
    key: KeyOf = field(default_factory=by_address)
    cost: Callable[[Caller], int] | int = 1
    wait: timedelta = _ZERO
    mode: Mode = Mode.ENFORCE
    share: float = 1.0
    excess: Excess = Excess.REJECT
    status: int = 429
    style: FieldStyle = FieldStyle.DRAFT_10
    charge: Callable[[int], int] | SaidCost | None = None
    shed: bool = False
    criticality: Criticality | None = None  # of all its requests; `None`: as they say
    name: str = ""
    secret: bool = False
    rng: Rng = field(default_factory=system_rng)
    counts: RuleStatistics = field(default_factory=RuleStatistics)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        check_kind("limiter", self.limiter, Limiter, "a limiter, as LocalLimiter(Gcra('100/s'))")
        if not callable(self.key):
            raise TypeError(f"key is {self.key!r}: give a function of the request, as by_address()")
        check_duration("wait", self.wait, zero=True)
        check_number("share", self.share, 0, 1, "it is a share of the requests")
        if self.status not in {429, 503}:
            raise ValueError(f"status is {self.status}: give 429, or 503")
        self.mode, self.excess = Mode(self.mode), Excess(self.excess)
        self.style = FieldStyle(self.style)
        self.name = self.name or ", ".join(limit.name for limit in self.limiter.limits)

    @property
    def may_wait(self) -> bool:
        """Whether a request may have to wait for its turn."""
        return bool(self.wait) or any(limit.patience_nanos for limit in self.limiter.limits)

    def verdict(self, decision: Decision) -> Verdict:
        """What becomes of a request about which *decision* was made, where the rule acts."""
        if decision.allowed:
            return Verdict.DELAY if decision.delay_nanos else Verdict.ALLOW
        return Verdict.DROP if self.excess is Excess.DROP else Verdict.REJECT

    def acts(self) -> bool:
        """Whether a refusal of the present request is to be enforced."""
        if self.mode is not Mode.ENFORCE:
            return False
        return self.share >= 1 or self.rng.random() < self.share

    def price(self, caller: Caller) -> int:
        """What *caller* costs."""
        return self.cost(caller) if callable(self.cost) else self.cost

    def portion(self, caller: Caller) -> float:
        """The share of the quotas that *caller* may use."""
        if not self.shed:
            return 1.0
        return SHARES[self.criticality or read_criticality(caller.headers)]

    def charged(self, status: int, header: Callable[[str], str | None]) -> int:
        """What an answer with *status* costs yet; *header* tells its fields."""
        if self.charge is None:
            return 0
        if isinstance(self.charge, SaidCost):
            return self.charge.read(header)
        return self.charge(status)

    def under(self, caller: Caller) -> Under:
        """As a `RuleSource`: this rule, unless it is off or does not count *caller*."""
        keys = None if self.mode is Mode.OFF else self.key(caller)
        return _UNDER_NONE if keys is None else Under([(self, keys)])

    def count(self, decision: Decision, *, acted: bool) -> None:
        """Note what was decided."""
        with self._lock:
            if not decision.allowed:
                self.counts.refused += acted
                self.counts.shadowed += not acted
            elif decision.delay_nanos:
                self.counts.delayed += 1
            else:
                self.counts.allowed += 1

    def refusal(self, decision: Decision) -> Refusal:
        """The answer to a request that *decision* refuses."""
        drop = self.excess is Excess.DROP
        if drop:
            return Refusal(self.status, [("content-length", "0")], b"", decision, drop=True)
        body = json.dumps(problem_of(decision, self.status)).encode()
        fields = [
            ("content-type", PROBLEM),
            ("content-length", str(len(body))),
            *fields_of(decision, self.style),
        ]
        return Refusal(self.status, fields, body, decision)


_UNDER_NONE = Under()


def ban_refusal(name: str, until: datetime | None = None, *, drop: bool = False) -> Refusal:
    """The answer to who is banned by *name*."""
    decision = Decision(
        allowed=False,
        cost=1,
        delay_nanos=0,
        retry_nanos=NEVER,
        refused_by=name,
        standings=(),
    )
    if drop:
        return Refusal(403, [("content-length", "0")], b"", decision, drop=True, banned=_BANNED)
    detail = _BANNED if until is None else f"{_BANNED} until {until:%Y-%m-%dT%H:%M:%SZ}"
    body = json.dumps(banned_problem(detail)).encode()
    fields = [("content-type", PROBLEM), ("content-length", str(len(body)))]
    return Refusal(403, fields, body, decision, banned=detail)


def banned_problem(detail: str = _BANNED) -> dict[str, object]:
    """The problem document of who is banned."""
    return {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": detail,
        "code": "banned",
    }


def problem_of(decision: Decision, status: int) -> dict[str, object]:
    """The problem document of a refusal; its types are those of the tenth draft."""
    quota = status == 429
    problem: dict[str, object] = {
        "type": _TYPES + ("quota-exceeded" if quota else "temporary-reduced-capacity"),
        "title": "Too many requests" if quota else "Reduced capacity",
        "status": status,
        "detail": decision.explain(),
        "code": "rate-limited",
    }
    if decision.refused_by is not None:
        problem["violated-policies"] = [decision.refused_by]
    if decision.retry_nanos != NEVER:
        problem["retry_after"] = max(1, -(-decision.retry_nanos // 10**9))
    return problem

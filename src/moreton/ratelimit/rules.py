"""Rules: which requests count by which key, and what happens to those that are too many."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from threading import Lock

from moreton.kernel.arguments import check_duration, check_kind, check_number
from moreton.kernel.rng import Rng, system_rng
from moreton.ratelimit.core.addresses import V6_BITS, client_address, key_of, networks
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.fields import FieldStyle, fields_of
from moreton.ratelimit.core.limit import NEVER
from moreton.ratelimit.core.rules.values import Mode
from moreton.ratelimit.limiter import Keys, Limiter
from moreton.ratelimit.seeing.core.report import Verdict
from moreton.resilience.core.headers import read_criticality
from moreton.resilience.layers.adaptive import SHARES

__all__ = [
    "Caller",
    "Excess",
    "Mode",
    "Refusal",
    "Rule",
    "RuleStatistics",
    "by_address",
    "by_header",
    "everyone",
    "problem_of",
]

_ZERO = timedelta(0)
PROBLEM = "application/problem+json"
_TYPES = "https://iana.org/assignments/http-problem-types#"


class Excess(StrEnum):
    """What happens to a request that is too many: it is told so, or its connection is ended."""

    REJECT = "reject"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Caller:
    """A request as rules see it; *headers* has lower-case names."""

    method: str
    path: str
    headers: Mapping[str, str]
    address: str


KeyOf = Callable[[Caller], Keys | None]


def by_address(*, trusted: Sequence[str] = (), v6_bits: int = V6_BITS) -> KeyOf:
    """By the client's address; *trusted* are the networks of your own proxies.

    Without them X-Forwarded-For says nothing, as anyone can write it.
    """
    known = networks(trusted)

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
    charge: Callable[[int], int] | None = None
    shed: bool = False
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
        return SHARES[read_criticality(caller.headers)] if self.shed else 1.0

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

"""The rules that a service keeps, replaced while it serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock

from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import NANOSECONDS_PER_SECOND
from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.rules.bans import BanIndex
from moreton.ratelimit.core.rules.compiled import Applied, RuleSet
from moreton.ratelimit.core.rules.seen import Caller, Seen, Sources, Teller
from moreton.ratelimit.core.rules.values import (
    Ban,
    Clients,
    LimitRule,
    Limits,
    Mode,
    Place,
    Verdict,
)
from moreton.ratelimit.limiter import Keys, Limiter
from moreton.ratelimit.rulebook.limiters import Kept, kept, make_limiter, make_rule
from moreton.ratelimit.rulebook.places import Places, files_of, stamps
from moreton.ratelimit.rulebook.tokens import Verifier
from moreton.ratelimit.rules import Refusal, Rule, Under, ban_refusal
from moreton.ratelimit.seeing.core import report
from moreton.ratelimit.seeing.tally import TALLY, Tally

BANS = "bans"  # what metrics call them
_log = logging.getLogger("moreton.ratelimit")


@dataclass(frozen=True, slots=True)
class Page:
    """What holds at one time."""

    limits: Limits
    bans: tuple[Ban, ...]
    rules: RuleSet
    teller: Teller
    banned: BanIndex
    limiters: Mapping[Kept, Limiter]
    applied: Mapping[tuple[str, str], Rule]  # by rule, and tier with bounds of its own
    sources: Sources
    files: tuple[tuple[int, int], ...]  # as they were: places, and keys of tokens
    may_wait: bool


class Rulebook:
    """The rules of *limits* that are kept in services, for the servers' middlewares.

    *service* is the name of this one, where rules match services. `replace` changes them while
    requests are served: counts of what stays the same go on. Safe to use from threads and tasks.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        service: str = "",
        clock: LimitClock = SYSTEM,
        rng: Rng | None = None,
        tally: Tally = TALLY,
    ) -> None:
        self._service = service
        self._clock = clock
        self._rng = rng or system_rng()
        self._tally = tally
        self._changing = Lock()
        self._look: Callable[[], None] = _nothing_to_look_at
        self._page = self._written(limits, (), None)

    @property
    def limits(self) -> Limits:
        """What holds now."""
        return self._page.limits

    @property
    def may_wait(self) -> bool:
        """Whether a request may have to wait for its turn."""
        return self._page.may_wait

    def replace(self, limits: Limits, bans: Iterable[Ban] = ()) -> None:
        """Keep *limits* from now on, and *bans* beside those that are in it.

        When that raises, what held before still does.
        """
        with self._changing:
            self._page = self._written(limits, tuple(bans), self._page)

    def watch(self, look: Callable[[], None]) -> None:
        """Call *look* before each request; it returns at once."""
        self._look = look

    def reset(self, rule: str, key: str) -> bool:
        """*key* begins anew with *rule*; whether there is that rule."""
        found = [made for what, made in self._page.limiters.items() if what.rule == rule]
        for limiter in found:
            limiter.reset(key)
        return bool(found)

    def see(self, caller: Caller) -> Seen:
        """Who sends *caller*."""
        if self._service and not caller.service:
            caller = replace(caller, service=self._service)
        seconds = self._clock.calendar() / NANOSECONDS_PER_SECOND
        return self._page.teller.see(caller, datetime.fromtimestamp(seconds, UTC))

    def under(self, caller: Caller) -> Under:
        """The rules that *caller* is under, and its keys; or the refusal of who is banned."""
        self._look()
        page = self._page
        seen = self.see(caller)
        ban = page.banned.ban_of(seen)
        if ban is not None:
            refusal = ban_refusal(BANS, ban.until)
            self._note(BANS, ban.who, refusal, acts=True)
            return Under(refusal=refusal)
        found: list[tuple[Rule, Keys]] = []
        for one in page.rules.under(seen):
            if one.bounds:
                found.append((page.applied[one.rule.name, one.variant], one.key))
                continue
            refused = self._nothing_passes(one)
            if refused is not None:
                return Under(refusal=refused)
        return Under(found)

    def _nothing_passes(self, one: Applied) -> Refusal | None:
        rule = one.rule
        acts = rule.mode is Mode.ENFORCE and (rule.share >= 1 or self._rng.random() < rule.share)
        refusal = ban_refusal(rule.name, drop=rule.verdict is Verdict.DROP)
        self._note(rule.name, one.key, refusal, acts=acts)
        return refusal if acts else None

    def _note(self, name: str, key: str, refusal: Refusal, *, acts: bool) -> None:
        verdict = report.Verdict.DROP if refusal.drop else report.Verdict.REJECT
        mode = Mode.ENFORCE if acts else Mode.SHADOW
        self._tally.note(name, (key,), verdict, mode, cost=1, secret=False, degraded=False)

    def _written(self, limits: Limits, bans: tuple[Ban, ...], old: Page | None) -> Page:
        clients = limits.clients
        files = stamps(files_of(clients))
        if old is not None and (old.limits.clients, old.files) == (clients, files):
            sources = old.sources
        else:
            sources = _sources(clients)
        rules = RuleSet(
            (rule for rule in limits.rules.values() if rule.at is Place.SERVICE), clients.tiers
        )
        limiters: dict[Kept, Limiter] = {}
        applied: dict[tuple[str, str], Rule] = {}
        known = old.limiters if old is not None else {}
        for rule in rules.rules:
            for variant, bounds in [("", rule.bounds), *rule.tiers.items()]:
                if not bounds:
                    continue
                what = kept(rule, variant, bounds, limits.counters)
                limiter = known.get(what) or make_limiter(what, rule, self._clock)
                limiters[what] = limiter
                applied[rule.name, variant] = _as_before(old, rule, variant, limiter) or make_rule(
                    rule, limiter, clients.api_key_header, self._rng
                )
        return Page(
            limits,
            bans,
            rules,
            Teller(clients, sources),
            BanIndex((*clients.bans, *bans)),
            limiters,
            applied,
            sources,
            files,
            any(rule.may_wait for rule in applied.values()),
        )


def _as_before(old: Page | None, rule: LimitRule, variant: str, limiter: Limiter) -> Rule | None:
    """The rule as it was, where neither it nor its limiter changed: its counts go on."""
    if old is None or old.limits.rules.get(rule.name) != rule:
        return None
    before = old.applied.get((rule.name, variant))
    return before if before is not None and before.limiter is limiter else None


def _sources(clients: Clients) -> Sources:
    claims = Verifier(clients.tokens).claims if clients.tokens is not None else Sources().claims
    return Sources(claims, Places(clients.geoip).place)


def _nothing_to_look_at() -> None:
    """Nobody said where changes come from."""

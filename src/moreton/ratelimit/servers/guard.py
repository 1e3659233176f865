"""What all servers share: a request passes every rule, and pays none when one refuses it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.fields import fields_of
from moreton.ratelimit.core.limit import seconds_of
from moreton.ratelimit.limiter import Keys
from moreton.ratelimit.rules import Caller, Mode, Refusal, Rule, RuleSource
from moreton.ratelimit.seeing.tally import TALLY, Tally
from moreton.ratelimit.turns import WAITING_MAX, Queue

_ZERO = timedelta(0)
HeaderOf = Callable[[str], str | None]


def no_header(_: str) -> str | None:
    """Of an answer that has no fields."""
    return None


@dataclass(slots=True)
class Passage:
    """A request that was looked at: *refusal* answers it, or it goes on after *delay_nanos*."""

    passed: list[tuple[Rule, Decision]] = field(default_factory=list)
    refusal: Refusal | None = None
    delay_nanos: int = 0

    @property
    def fields(self) -> list[tuple[str, str]]:
        """What its answer tells of the limits: of the rule that has least left."""
        told = [one for one in self.passed if one[0].mode is Mode.ENFORCE and one[1].standings]
        if not told:
            return []
        rule, decision = min(told, key=lambda one: one[1].left)
        return fields_of(decision, rule.style)


@dataclass(frozen=True, slots=True)
class Ask:
    """Decide by *rule*, and send the decision."""

    rule: Rule
    keys: Keys
    cost: int
    patience: timedelta
    share: float


@dataclass(frozen=True, slots=True)
class Undo:
    """Give back what *rule* charged."""

    rule: Rule
    decision: Decision


Steps = Generator[Ask | Undo, Decision | None, Passage]


class Guard:
    """Looks at requests by all of *rules*, for threads and for tasks; *tally* counts what became.

    At most *waiting_max* requests of it wait for their turn: others are let in at once, or refused.
    """

    def __init__(
        self, rules: Sequence[RuleSource], *, waiting_max: int = WAITING_MAX, tally: Tally = TALLY
    ) -> None:
        for rule in rules:
            if not callable(getattr(rule, "under", None)):
                raise TypeError(f"a rule is {rule!r}: give a Rule, or a Rulebook")
        self._rules = tuple(rules)
        self._queue = Queue(waiting_max)
        self._tally = tally

    def enter(self, caller: Caller) -> Passage:
        """Decide about *caller*, and wait for its turn."""
        with self._queue.place(wanted=self._may_wait()) as queued:
            steps = self._steps(caller, queued=queued)
            answer: Decision | None = None
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    passage: Passage = end.value
                    break
                limiter = step.rule.limiter
                if isinstance(step, Ask):
                    answer = limiter.decide(
                        step.keys, step.cost, patience=step.patience, share=step.share
                    )
                else:
                    limiter.give_back(step.decision)
                    answer = None
            if passage.delay_nanos:
                limiter.clock.sleep(seconds_of(passage.delay_nanos))
        return passage

    async def enter_async(self, caller: Caller) -> Passage:
        """As `enter`."""
        with self._queue.place(wanted=self._may_wait()) as queued:
            steps = self._steps(caller, queued=queued)
            answer: Decision | None = None
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    passage: Passage = end.value
                    break
                limiter = step.rule.limiter
                if isinstance(step, Ask):
                    answer = await limiter.decide_async(
                        step.keys, step.cost, patience=step.patience, share=step.share
                    )
                else:
                    await limiter.give_back_async(step.decision)
                    answer = None
            if passage.delay_nanos:
                await limiter.clock.sleep_async(seconds_of(passage.delay_nanos))
        return passage

    def leave(self, passage: Passage, status: int, header: HeaderOf = no_header) -> None:
        """The request was answered with *status*; *header* tells the fields of the answer."""
        for rule, decision in passage.passed:
            rule.limiter.release(decision)
            cost = rule.charged(status, header)
            if cost:
                rule.limiter.charge(decision.keys, cost)

    async def leave_async(
        self, passage: Passage, status: int, header: HeaderOf = no_header
    ) -> None:
        """As `leave`."""
        for rule, decision in passage.passed:
            await rule.limiter.release_async(decision)
            cost = rule.charged(status, header)
            if cost:
                await rule.limiter.charge_async(decision.keys, cost)

    def _steps(self, caller: Caller, *, queued: bool) -> Steps:
        """Ask one rule after the other; without a place in the queue none may let it wait."""
        passage = Passage()
        under = [source.under(caller) for source in self._rules]
        for one in under:
            if one.refusal is not None:
                return Passage(refusal=one.refusal)
        for rule, keys in (each for one in under for each in one.rules):
            patience = rule.wait if queued else _ZERO
            decision = yield Ask(rule, keys, rule.price(caller), patience, rule.portion(caller))
            assert decision is not None
            acts = rule.acts()
            if acts and decision.delay_nanos and not queued:
                # A queue of the limit's own: its turn goes to the next one.
                yield Undo(rule, decision)
                decision = _too_late(decision)
            self._count(rule, decision, acts=acts)
            if not decision.allowed:
                if not acts:
                    continue
                for earlier, charged in passage.passed:
                    yield Undo(earlier, charged)
                return Passage(refusal=rule.refusal(decision))
            if rule.charge is not None:
                # It asked whether there is one; the answer says what is charged.
                yield Undo(rule, decision)
            if acts:
                passage.delay_nanos = max(passage.delay_nanos, decision.delay_nanos)
            passage.passed.append((rule, _undone(decision) if rule.charge else decision))
        return passage

    def _may_wait(self) -> bool:
        return any(rule.may_wait for rule in self._rules)

    def _count(self, rule: Rule, decision: Decision, *, acts: bool) -> None:
        rule.count(decision, acted=acts)
        mode = Mode.ENFORCE if acts else Mode.SHADOW
        self._tally.note(
            rule.name,
            decision.keys,
            rule.verdict(decision),
            mode,
            cost=decision.cost,
            secret=rule.secret,
            degraded=decision.degraded,
        )


def _too_late(decision: Decision) -> Decision:
    """*decision* for one who cannot wait: as many as may do so already."""
    slowest = max(decision.standings, key=lambda one: one.wait_nanos)
    return replace(
        decision,
        allowed=False,
        delay_nanos=0,
        retry_nanos=decision.delay_nanos,
        refused_by=slowest.limit.name,
        taken=(),
    )


def _undone(decision: Decision) -> Decision:
    """*decision*, of which all was given back."""
    return replace(decision, taken=())

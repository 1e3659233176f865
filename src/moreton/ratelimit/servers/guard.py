"""What all servers share: a request passes every rule, and pays none when one refuses it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.core.fields import fields_of
from moreton.ratelimit.core.limit import seconds_of
from moreton.ratelimit.limiter import Keys, Limiter, Question
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
    clock: LimitClock = SYSTEM

    def wait(self, nanos: int, clock: LimitClock) -> None:
        """Go on after *nanos* of *clock*, or later."""
        if nanos > self.delay_nanos:
            self.delay_nanos, self.clock = nanos, clock

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
class AskTogether:
    """Decide by the rules of *asks* in one trip, and send the decisions."""

    asks: Sequence[Ask]

    @property
    def limiter(self) -> Limiter:
        """Who can be asked for all of them."""
        return self.asks[0].rule.limiter

    @property
    def questions(self) -> list[Question]:
        """What is asked."""
        return [Question(one.rule.limiter, one.keys, one.cost, one.share) for one in self.asks]


@dataclass(frozen=True, slots=True)
class Undo:
    """Give back what *rule* charged."""

    rule: Rule
    decision: Decision


Answer = Decision | list[Decision | None] | None
Step = Ask | AskTogether | Undo
Steps = Generator[Step, Answer, Passage]
Deciding = Generator[Step, Answer, Refusal | None]


class Guard:
    """Looks at requests by all of *rules*, for threads and for tasks; *tally* counts what became.

    Rules whose limits are in one store are asked in one trip, after the others.
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
        passage = Passage()
        try:
            with self._queue.place(wanted=self._may_wait()) as queued:
                passage = self._decide(self._steps(caller, passage, queued=queued))
                if passage.delay_nanos:
                    passage.clock.sleep(seconds_of(passage.delay_nanos))
        except BaseException:
            self._release(passage)
            raise
        return passage

    async def enter_async(self, caller: Caller) -> Passage:
        """As `enter`; who is cancelled while it waits has used its turn, and holds no place."""
        passage = Passage()
        try:
            with self._queue.place(wanted=self._may_wait()) as queued:
                steps = self._steps(caller, passage, queued=queued)
                passage = await self._decide_async(steps)
                if passage.delay_nanos:
                    await passage.clock.sleep_async(seconds_of(passage.delay_nanos))
        except BaseException:
            await self._release_async(passage)
            raise
        return passage

    def leave(self, passage: Passage, status: int, header: HeaderOf = no_header) -> None:
        """The request was answered with *status*; *header* tells the fields of the answer."""
        self._release(passage)
        for rule, decision in passage.passed:
            cost = rule.charged(status, header)
            if cost:
                rule.limiter.charge(decision.keys, cost)

    async def leave_async(
        self, passage: Passage, status: int, header: HeaderOf = no_header
    ) -> None:
        """As `leave`."""
        await self._release_async(passage)
        for rule, decision in passage.passed:
            cost = rule.charged(status, header)
            if cost:
                await rule.limiter.charge_async(decision.keys, cost)

    def _release(self, passage: Passage) -> None:
        for rule, decision in passage.passed:
            rule.limiter.release(decision)

    async def _release_async(self, passage: Passage) -> None:
        for rule, decision in passage.passed:
            await rule.limiter.release_async(decision)

    def _decide(self, steps: Steps) -> Passage:
        """Do *steps*."""
        answer: Answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                passage: Passage = end.value
                return passage
            answer = None
            if isinstance(step, AskTogether):
                answer = step.limiter.decide_together(step.questions)
            elif isinstance(step, Ask):
                limiter = step.rule.limiter
                answer = limiter.decide(
                    step.keys, step.cost, patience=step.patience, share=step.share
                )
            else:
                step.rule.limiter.give_back(step.decision)

    async def _decide_async(self, steps: Steps) -> Passage:
        """As `_decide`."""
        answer: Answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                passage: Passage = end.value
                return passage
            answer = None
            if isinstance(step, AskTogether):
                answer = await step.limiter.decide_together_async(step.questions)
            elif isinstance(step, Ask):
                limiter = step.rule.limiter
                answer = await limiter.decide_async(
                    step.keys, step.cost, patience=step.patience, share=step.share
                )
            else:
                await step.rule.limiter.give_back_async(step.decision)

    def _steps(self, caller: Caller, passage: Passage, *, queued: bool) -> Steps:
        """Ask one rule after the other, and note in *passage* which let it pass.

        Without a place in the queue none may let it wait.
        """
        under = [source.under(caller) for source in self._rules]
        for one in under:
            if one.refusal is not None:
                return Passage(refusal=one.refusal)
        asks = [
            Ask(
                rule, keys, rule.price(caller), rule.wait if queued else _ZERO, rule.portion(caller)
            )
            for one in under
            for rule, keys in one.rules
        ]
        alone, together = _divided(asks)
        for ask in alone:
            refused = yield from self._alone(ask, passage, queued=queued)
            if refused is not None:
                return (yield from _given_back(passage, refused))
        for group in together:
            refused = yield from self._together(group, passage)
            if refused is not None:
                return (yield from _given_back(passage, refused))
        return passage

    def _alone(self, ask: Ask, passage: Passage, *, queued: bool) -> Deciding:
        rule = ask.rule
        decision = yield ask
        assert isinstance(decision, Decision)
        acts = rule.acts()
        if acts and decision.delay_nanos and not queued:
            # A queue of the limit's own: its turn goes to the next one.
            yield Undo(rule, decision)
            decision = _too_late(decision)
        self._count(rule, decision, acts=acts)
        if not decision.allowed:
            return rule.refusal(decision) if acts else None
        if rule.charge is not None:
            # It asked whether there is one; the answer says what is charged.
            yield Undo(rule, decision)
        if acts:
            passage.wait(decision.delay_nanos, rule.limiter.clock)
        passage.passed.append((rule, _undone(decision) if rule.charge else decision))
        return None

    def _together(self, asks: Sequence[Ask], passage: Passage) -> Deciding:
        """As if each were alone, but that all are charged, or none."""
        decisions = yield AskTogether(asks)
        assert isinstance(decisions, list)
        refused = None
        for ask, decision in zip(asks, decisions, strict=True):
            if decision is None:
                continue
            self._count(ask.rule, decision, acts=True)
            if decision.allowed:
                passage.passed.append((ask.rule, decision))
            elif refused is None:
                refused = ask.rule.refusal(decision)
        return refused

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


def _divided(asks: Sequence[Ask]) -> tuple[list[Ask], list[list[Ask]]]:
    """Those that are asked alone, and those that are asked together."""
    alone: list[Ask] = []
    groups: dict[object, list[Ask]] = {}
    for ask in asks:
        rule, store = ask.rule, ask.rule.limiter.store
        always_acts = rule.mode is Mode.ENFORCE and rule.share >= 1
        if store is None or not always_acts or rule.charge is not None or ask.patience:
            alone.append(ask)
        else:
            groups.setdefault((store, ask.cost), []).append(ask)
    alone.extend(group[0] for group in groups.values() if len(group) == 1)
    return alone, [group for group in groups.values() if len(group) > 1]


def _given_back(passage: Passage, refusal: Refusal) -> Generator[Undo, Answer, Passage]:
    """The passage of who is refused, and pays nothing."""
    for rule, decision in passage.passed:
        if rule.charge is None:  # else it has been given back
            yield Undo(rule, decision)
    return Passage(refusal=refusal)


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

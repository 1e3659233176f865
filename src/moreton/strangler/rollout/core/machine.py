"""The machine of a migration: from stage to stage, and back at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from moreton.gateway.core.moves import Move
from moreton.kernel.time import Instant
from moreton.strangler.rollout.core.orders import follow
from moreton.strangler.rollout.core.plan import WINDOW, Plan, Stage
from moreton.strangler.rollout.core.progress import (
    Commit,
    Effect,
    Entry,
    Event,
    Looked,
    Ordered,
    Phase,
    Progress,
    Save,
    SharesChanged,
    move_of,
    next_stage,
    share_of,
)
from moreton.strangler.rollout.core.sides import Evidence, Look
from moreton.strangler.rollout.core.verdicts import Outcome, Verdict, enough, judge, outside

# What a crash may lose of the evidence.
SAVE_EVERY = timedelta(seconds=10)
# Between two looks further apart nobody watched: that time does not count.
LOOKS_APART_MAX = timedelta(seconds=5)
_WATCHED = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.FROZEN})


class Migration:
    """One migration by *plan*, which stands at *progress* now.

    Recovery is a `Migration` of the progress that was committed last: stage, share and reason
    are as they were, of the evidence at most `SAVE_EVERY` is gone.
    """

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self.plan = plan
        self.progress = progress
        self._looked: Instant | None = None
        self._saved: Instant | None = None
        self._windows: list[tuple[Instant, Evidence]] = []  # the last seconds, oldest first

    @property
    def stage(self) -> Stage:
        """The stage it is in; before the start, the first."""
        return self.plan.stages[self.progress.stage]

    @property
    def share(self) -> float:
        """The only share of the requests that the candidate may get now."""
        return share_of(self.plan, self.progress)

    @property
    def move(self) -> Move | None:
        """Who goes where meanwhile, beside the share."""
        return move_of(self.plan, self.progress)

    def verdicts(self) -> tuple[Verdict, ...]:
        """What the gates say of this stage."""
        evidence, past = self.progress.evidence, self.progress.past
        windows = [window for _, window in self._windows]
        return judge(self.plan, self.stage, evidence, past, windows=windows)

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """What follows from *event*."""
        match event:
            case Ordered():
                effect = follow(self.plan, self.progress, event, self.verdicts())
                return self._taken([effect], now)
            case Looked():
                return self._taken(self._look(event.look, now), now)
            case SharesChanged():
                entry = self._entry(f"{event.share:.4%} was set by somebody: put back")
                return [Commit(self.progress, entry)]
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> Sequence[Effect]:  # noqa: ARG002 - of the machine's shape
        """Nothing: time counts only while it is watched, so that each look tells it."""
        return []

    def deadline(self) -> Instant | None:
        """Never: see `wake`."""
        return None

    def _look(self, look: Look, now: Instant) -> list[Effect]:
        progress = self.progress
        if progress.phase not in _WATCHED:
            return []
        wrong = outside(self.plan.gates, dict(look.readings))
        passed = timedelta(0) if self._looked is None else now - self._looked
        self._looked = now
        counts = progress.phase is Phase.RUNNING and not look.trouble
        held = progress.held + (min(passed, LOOKS_APART_MAX) if counts else timedelta(0))
        seen = replace(progress, held=held, evidence=progress.evidence.plus(look, wrong))
        self.progress = seen
        self._slide(look, now)
        verdicts = self.verdicts()
        failed = [each for each in verdicts if each.outcome is Outcome.FAIL]
        if failed and progress.phase is not Phase.FROZEN:
            return [self._fail(failed, verdicts)]
        if progress.phase is Phase.RUNNING and self._may_go_on(verdicts):
            return [self._go_on(verdicts)]
        if self._saved is None or now - self._saved >= SAVE_EVERY:
            return [Save(seen)]
        return []

    def _slide(self, look: Look, now: Instant) -> None:
        if not self._windows or now - self._windows[-1][0] >= WINDOW:
            self._windows = [*self._windows[-1:], (now, Evidence())]
        self._windows = [(since, window.plus(look, ())) for since, window in self._windows]

    def _fail(self, failed: Sequence[Verdict], verdicts: tuple[Verdict, ...]) -> Commit:
        reason = "; ".join(f"{each.gate}: {each.why}" for each in failed)
        if self.progress.no_return:
            frozen = replace(self.progress, phase=Phase.FROZEN, reason=reason)
            return self._commit(frozen, "frozen: it failed after the point of no return", verdicts)
        back = replace(self.progress, phase=Phase.ROLLED_BACK, reason=reason)
        return self._commit(back, "rolled back", verdicts)

    def _may_go_on(self, verdicts: Sequence[Verdict]) -> bool:
        stage, progress = self.stage, self.progress
        return (
            all(each.outcome is Outcome.PASS for each in verdicts)
            and not progress.evidence.trouble
            and progress.held >= stage.hold
            and enough(stage, progress.evidence)
            and (progress.approved or not stage.manual)
        )

    def _go_on(self, verdicts: tuple[Verdict, ...]) -> Commit:
        return self._commit(next_stage(self.plan, self.progress), "went on", verdicts)

    def _commit(self, to: Progress, what: str, verdicts: tuple[Verdict, ...]) -> Commit:
        reason = to.reason if to.phase in {Phase.FROZEN, Phase.ROLLED_BACK} else ""
        return Commit(to, self._entry(what, to, reason, verdicts))

    def _entry(
        self,
        what: str,
        to: Progress | None = None,
        because: str = "",
        verdicts: tuple[Verdict, ...] = (),
    ) -> Entry:
        after = to or self.progress
        stage = self.plan.stages[after.stage].name
        return Entry(what, stage, share_of(self.plan, after), "gates", because, verdicts)

    def _taken(self, effects: Sequence[Effect], now: Instant) -> Sequence[Effect]:
        for effect in effects:
            if isinstance(effect, Commit | Save):
                self.progress, self._saved = effect.progress, now
            if isinstance(effect, Commit):
                self._windows = []  # they are of one stage, like all evidence
        return effects

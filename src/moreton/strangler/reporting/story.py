"""A migration as a report tells it, from what was written down while it went on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moreton.strangler.rollout.core.documents import verdict_document
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.progress import Happening, Phase, Progress, share_of
from moreton.strangler.rollout.core.quantiles import Spread
from moreton.strangler.rollout.core.samples import Sample
from moreton.strangler.rollout.core.sides import Side
from moreton.strangler.rollout.core.verdicts import Outcome, judge

_ENDS = frozenset({Happening.ROLLED_BACK, Happening.DONE})
_INCIDENTS = frozenset({Happening.ROLLED_BACK, Happening.FROZEN, Happening.PUT_BACK})
_FORCE = "with force"
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the history; *verdicts* are the gates' at that moment, of the stage it left."""

    number: int
    when: datetime
    kind: str
    attempt: int
    what: str
    stage: str
    share: float
    by: str
    because: str
    verdicts: Sequence[Mapping[str, Any]]

    @property
    def is_incident(self) -> bool:
        """Whether something was not as it should be."""
        return self.kind in _INCIDENTS or self.what.endswith(_FORCE)

    @property
    def is_proven(self) -> bool:
        """Whether gates that failed say why."""
        return any(each["outcome"] == Outcome.FAIL for each in self.verdicts)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a service answered in some time; *times* are of `QUANTILES`, in milliseconds."""

    requests: int
    errors: int
    times: Sequence[float | None]

    @property
    def error_share(self) -> float:
        """The share that failed; 0 of nothing."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Visit:
    """One stage of one *attempt*, from when it was *entered* until it was *left*, if it was."""

    attempt: int
    stage: str
    share: float
    entered: datetime
    left: Entry | None
    baseline: Numbers
    candidate: Numbers
    compared: int
    different: int
    verdicts: Sequence[Mapping[str, Any]]

    @property
    def passed(self) -> bool:
        """Whether its gates let it go on."""
        on = self.left is not None and self.left.kind in {Happening.WENT_ON, Happening.DONE}
        return on and not (self.left is not None and self.left.what.endswith(_FORCE))


@dataclass(frozen=True, slots=True)
class Found:
    """Differences of one shape, as a comparer has grouped them."""

    endpoint: str
    field: str
    kind: str
    count: int
    first_seen: datetime
    last_seen: datetime
    pairs: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was said not to count, *because* of what, and *where* that was said."""

    what: str
    treatment: str
    because: str
    where: str


@dataclass(frozen=True, slots=True)
class Report:
    """A migration by *plan*, as it stood when the report was *made*."""

    plan: Plan
    progress: Progress
    made: datetime
    entries: Sequence[Entry]
    visits: Sequence[Visit]
    samples: Sequence[Sample]
    differences: Sequence[Found]
    accepted: Sequence[Accepted]
    note: str = ""  # on what could not be told

    @property
    def share(self) -> float:
        """What the candidate gets now."""
        return share_of(self.plan, self.progress)

    @property
    def is_over(self) -> bool:
        """Whether nothing goes on by itself any more."""
        return self.progress.phase in {Phase.DONE, Phase.ROLLED_BACK}

    @property
    def incidents(self) -> Sequence[Entry]:
        """What was not as it should be, oldest first."""
        return [each for each in self.entries if each.is_incident]

    @property
    def began(self) -> datetime | None:
        """When the first attempt that is known began."""
        return self.entries[0].when if self.entries else None

    @property
    def ended(self) -> datetime | None:
        """When it was over, if it is."""
        ends = [each.when for each in self.entries if each.kind in _ENDS]
        return ends[-1] if self.is_over and ends else None

    def stage_of(self, sample: Sample) -> str:
        """The name that the stage of *sample* had when it was taken; its share if it had none."""
        for visit in self.visits:
            if _is_within(sample, visit.attempt, visit.entered, visit.left):
                return visit.stage
        return f"{sample.share:.0%}"

    @property
    def totals(self) -> tuple[Numbers, Numbers]:
        """What the baseline and the candidate answered in all."""
        return _numbers(self.samples, "baseline"), _numbers(self.samples, "candidate")

    @property
    def compared(self) -> tuple[int, int]:
        """How many answers were compared, and how many of them differed."""
        return sum(s.compared for s in self.samples), sum(s.different for s in self.samples)


def tell(
    plan: Plan,
    progress: Progress,
    history: Sequence[Mapping[str, Any]],
    samples: Sequence[Sample],
    *,
    made: datetime,
    differences: Sequence[Found] = (),
    accepted: Sequence[Accepted] = (),
    note: str = "",
) -> Report:
    """The report of a migration by *plan* at *progress*, whose *history* is as the store has it."""
    entries = [_entry(each) for each in history]
    visits = _visits(plan, progress, entries, samples)
    return Report(plan, progress, made, entries, visits, samples, differences, accepted, note)


def _entry(document: Mapping[str, Any]) -> Entry:
    return Entry(
        document["number"],
        datetime.fromisoformat(document["when"]),
        document.get("kind", ""),
        document.get("try", 0),
        document["what"],
        document["stage"],
        document["share"],
        document["by"],
        document["because"],
        document["verdicts"],
    )


def _visits(
    plan: Plan, progress: Progress, entries: Sequence[Entry], samples: Sequence[Sample]
) -> list[Visit]:
    found: list[Visit] = []
    entered: Entry | None = None
    for entry in entries:
        begins = entry.kind in {Happening.STARTED, Happening.WENT_ON}
        ends = entry.kind in _ENDS
        if entered is not None and (begins or ends):
            found.append(_visit(entered, entry, samples, entry.verdicts))
        if begins:
            entered = entry
        elif ends:
            entered = None
    if entered is not None:
        stage = plan.stages[progress.stage]
        now = judge(plan, stage, progress.evidence, progress.past)
        verdicts = [verdict_document(each) for each in now]
        found.append(_visit(entered, None, samples, verdicts))
    return found


def _visit(
    entered: Entry,
    left: Entry | None,
    samples: Sequence[Sample],
    verdicts: Sequence[Mapping[str, Any]],
) -> Visit:
    mine = [s for s in samples if _is_within(s, entered.attempt, entered.when, left)]
    return Visit(
        entered.attempt,
        entered.stage,
        entered.share,
        entered.when,
        left,
        _numbers(mine, "baseline"),
        _numbers(mine, "candidate"),
        sum(each.compared for each in mine),
        sum(each.different for each in mine),
        verdicts,
    )


def _is_within(sample: Sample, attempt: int, entered: datetime, left: Entry | None) -> bool:
    # By time: a stage's number in a sample is of a plan that may have been another then.
    middle = sample.since + sample.seconds / 2
    until = math.inf if left is None else left.when.timestamp()
    return sample.tries == attempt and entered.timestamp() <= middle < until


def _numbers(samples: Sequence[Sample], side: str) -> Numbers:
    return numbers_of(sum((getattr(each, side) for each in samples), Side()))


def numbers_of(side: Side) -> Numbers:
    """*side* as people read it."""
    spread = Spread(side.times)
    times = [spread.quantile(share) if spread.total else None for share in QUANTILES]
    return Numbers(side.requests, side.errors, times)

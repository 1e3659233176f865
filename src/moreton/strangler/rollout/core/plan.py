"""What a migration is to do: its stages, and the gates that each of them has to pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from moreton.gateway.core.moves import Cohort, Trait

# Below it a sample says nothing whatever it is of.
REQUESTS_MIN = 20
# What a candidate answered well for hours must not outweigh that it fails now: beside all of a
# stage, its last seconds are judged by themselves. A window begins every so often, and lasts twice
# as long, so that the last five seconds are always in one.
WINDOW = timedelta(seconds=5)
WINDOWS_PER_HOUR = timedelta(hours=1) // WINDOW


@dataclass(frozen=True, slots=True)
class ErrorGate:
    """The candidate's share of failures is at most *tolerance* above the baseline's."""

    tolerance: float = 0.01

    @property
    def name(self) -> str:
        """As people read it."""
        return "errors"


@dataclass(frozen=True, slots=True)
class LatencyGate:
    """The candidate's *quantile* of times is at most *tolerance* (0.1: a tenth) above."""

    quantile: float = 0.95
    tolerance: float = 0.1

    @property
    def name(self) -> str:
        """As people read it."""
        return "latency"


@dataclass(frozen=True, slots=True)
class DifferenceGate:
    """Of the answers that were compared, at most the share *highest* differs.

    It is judged in stages with copies only.
    """

    highest: float = 0.001

    @property
    def name(self) -> str:
        """As people read it."""
        return "differences"


@dataclass(frozen=True, slots=True)
class MetricGate:
    """A Prometheus *query* at *url* stays in [lowest, highest]; out of it *failures* times: fail.

    Whether it is in there is believed at once; that it is not, only in a row: one query
    that goes wrong must not take a rollout back.
    """

    name: str
    url: str
    query: str
    lowest: float | None = None
    highest: float | None = None
    failures: int = 3


Gate: TypeAlias = ErrorGate | LatencyGate | DifferenceGate | MetricGate


@dataclass(frozen=True, slots=True)
class Stage:
    """A *share* in [0, 1] of the requests goes to the candidate, until the gates let it go on.

    It lasts at least *hold* and *requests* answers of the candidate. From a stage that is
    *manual* somebody has to let it go on as well. Once one of *no_return* begins, nothing goes
    back by itself. The users of *cohort* go to the candidate from then on; the share is of the
    others. Of the baseline's requests the share *copies* is also asked of the candidate, and the
    answers are compared.
    """

    name: str
    share: float
    hold: timedelta = timedelta(minutes=1)
    requests: int = 100
    manual: bool = False
    no_return: bool = False
    cohort: Cohort | None = None
    copies: float = 0.0

    @property
    def is_shadow(self) -> bool:
        """Whether the candidate answers nobody."""
        return self.share == 0.0 and self.cohort is None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the requests of *route* move from the service *baseline* to *candidate*.

    An equal candidate is taken back by chance in at most `1 - confidence` of all migrations,
    and one that is worse than a gate tolerates passes that gate in at most as many. A user, told
    by *sticky*, changes sides once at most; without it each request is drawn anew. What the
    candidate does not begin to answer in *answer_within* has failed; `None`: it is waited for.
    """

    name: str
    route: str
    baseline: str
    candidate: str
    stages: tuple[Stage, ...]
    gates: tuple[Gate, ...]
    confidence: float = 0.99
    sticky: Trait | None = None
    answer_within: timedelta | None = None

    def __post_init__(self) -> None:
        shares = [stage.share for stage in self.stages]
        if not shares or shares[-1] != 1.0 or shares != sorted(shares) or shares[0] < 0.0:
            raise ValueError(f"the stages' shares are {shares}: let them rise from 0 to 1 at last")
        if not 0.5 <= self.confidence < 1.0:
            raise ValueError(f"confidence is {self.confidence}: choose one in [0.5, 1)")

    @property
    def sides(self) -> tuple[str, str, str]:
        """The route, and between which services it moves: another of these is another migration."""
        return self.route, self.baseline, self.candidate

    @property
    def chance_of_pass(self) -> float:
        """How likely at most a gate passes what it should not."""
        return 1.0 - self.confidence

    @property
    def chance_of_fail(self) -> float:
        """How likely at most one gate fails in one stage by all of it what it should not.

        All stages and gates together stay below half of `1 - confidence` (Bonferroni).
        """
        tested = [each for each in self.gates if not isinstance(each, MetricGate)]
        return (1.0 - self.confidence) / max(1, len(tested) * len(self.stages)) / 2

    @property
    def chance_of_sudden_fail(self) -> float:
        """How likely at most it does by one window of its last seconds.

        All windows of an hour together have the other half.
        """
        return self.chance_of_fail / WINDOWS_PER_HOUR

"""Learns where an application differs from itself, and what only a candidate does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from moreton.strangler.compare.core.differences import (
    ABSENT,
    Comparison,
    Difference,
    Kind,
    Shape,
)
from moreton.strangler.compare.core.noise.looks import Looks
from moreton.strangler.compare.core.noise.wagers import Streak

SHAPES_MAX = 10_000
# Before an endpoint was asked twice so often, nothing is said of what it never did.
ASKED_MIN = 20
# What differs from itself in fewer of them is no noise: it is told of only if it is there again
# when both are asked once more, which by chance is as seldom as the square of this.
SELDOM_MAX = 1 / 500
# Where the primary surely differs from itself in fewer, it is not waited for until both were
# asked twice so often that it shows whether the candidate does more often.
RARE_MAX = 1 / 20
# A kept shape of noise is wrong in at most so many of them, however often evidence is looked at.
FALSE_KEPT_MAX = 0.001
# Older evidence counts half once there is so much, so that noise that changes is learned anew.
_DISCORDANT_MAX = 1000
# A candidate that was mended has to be taken for that: after so many requests to the endpoint in
# which it did not differ alone.
QUIET_MAX = 200


class Verdict(StrEnum):
    """What is to be done with differences of a shape."""

    KEEP = "keep"
    NOISE = "noise"
    UNDECIDED = "undecided"  # not enough was asked twice


@dataclass(slots=True)
class Evidence:
    """How often a shape was found where the primary was asked twice, and the candidate once.

    *itself* counts where the primary alone differed from itself, *candidate* where the candidate
    alone differed from it, *both* where both did.
    """

    itself: int = 0
    candidate: int = 0
    both: int = 0
    proven: bool = False  # once it was shown that the candidate differs more often
    looks: Looks | None = None  # what the primary said where it differed from itself
    streak: Streak = field(default_factory=Streak)  # of requests in which the candidate differs

    @property
    def strength(self) -> float:
        """How many times better than chance it explains this that the candidate differs more.

        If the candidate answers as the primary does, then its answer and the primary's second one
        could be exchanged: where just one of them differs, either is as likely. Against that stands
        any share above one half, all alike. The value is that of a test martingale: under chance it
        ever exceeds 1/a with probability a at most, so that one may look after every request.

        Source: Ville's inequality; Shafer, "Testing by betting", JRSS A 184 (2021), section 2.
        """
        count = self.itself + self.candidate
        log_below = _log_sum_of_choices(count + 1, self.candidate)
        log_choices = _log_choose(count, self.candidate)
        return math.exp(min(700.0, log_below - log_choices - math.log(count + 1)))

    def add(self, *, itself: bool, candidate: bool) -> None:
        """One request more."""
        if itself and candidate:
            self.both += 1
        else:
            self.itself += itself
            self.candidate += candidate
        if self.itself + self.candidate > _DISCORDANT_MAX:
            self.itself, self.candidate = self.itself // 2, self.candidate // 2
        self.proven = self.proven or (candidate and self.strength >= 1 / FALSE_KEPT_MAX)


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of one shape, of *asked* requests to its endpoint."""

    shape: Shape
    verdict: Verdict
    asked: int
    evidence: Evidence
    because: str


class Noise:
    """What is noise, by endpoint, field and kind; whoever knows better can say so.

    A difference stays unless the primary was seen to differ from itself in the same field and kind.
    One where it was, stays if the candidate differs there more often than chance explains, or says
    what noise never does there. *mark* stands for a value that is remembered, which may be secret.
    """

    def __init__(self, mark: Callable[[str], str] = str) -> None:
        self._mark = mark
        self._asked: dict[str, int] = {}
        self._evidence: dict[Shape, Evidence] = {}
        self._said: dict[Shape, tuple[Verdict, str]] = {}
        self._quiet: dict[Shape, int] = {}  # of those that are proven
        self._watched: dict[str, int] = {}  # requests by endpoint
        self.overlooked = 0  # shapes that there was no room for

    def learn(self, endpoint: str, itself: Comparison, candidate: Comparison) -> None:
        """One request: the primary's two answers compared, and its first with the candidate's."""
        if endpoint not in self._asked and len(self._asked) >= SHAPES_MAX:
            self.overlooked += 1
            return
        self._asked[endpoint] = self._asked.get(endpoint, 0) + 1
        ours = {one.shape(endpoint) for one in itself.differences}
        theirs = {one.shape(endpoint) for one in candidate.differences}
        for shape in ours | theirs:
            evidence = self._evidence.get(shape)
            if evidence is None:
                if len(self._evidence) >= SHAPES_MAX:
                    self.overlooked += 1
                    continue
                evidence = self._evidence[shape] = Evidence()
            evidence.add(itself=shape in ours, candidate=shape in theirs)
            if shape in ours:
                evidence.streak = Streak()
            if evidence.proven:
                self._quiet.setdefault(shape, 0)
        self._forget(endpoint, theirs - ours)
        for one in itself.differences:
            known = self._evidence.get(one.shape(endpoint))
            if known is not None and one.kind is not Kind.ORDER:
                known.looks = known.looks or Looks()
                said = one.primary, one.candidate
                known.looks.add(*said, (self._mark(said[0]), self._mark(said[1])))

    def watch(self, endpoint: str, candidate: Comparison) -> None:
        """One request: the primary's answer compared with the candidate's, before it is sorted.

        Of each shape of noise the first is taken, to see whether both say such things as often.
        """
        asked = self._asked.get(endpoint)
        if asked is None:
            return
        number = self._watched[endpoint] = self._watched.get(endpoint, 0) + 1
        for shape, one in {one.shape(endpoint): one for one in candidate.differences[::-1]}.items():
            known = self._evidence.get(shape)
            if known is None:
                continue
            # With 95 % confidence; the "rule of three", and what was seen.
            share = (known.itself + known.both + 3) / asked
            if share <= RARE_MAX:
                known.streak.add(number, share)
            if known.looks is not None and one.kind is Kind.VALUE:
                known.looks.watch(one.primary, one.candidate, self._mark)

    def _forget(self, endpoint: str, alone: set[Shape]) -> None:
        """What the candidate was shown to do, and has not done for long."""
        for shape in [shape for shape in self._quiet if shape.endpoint == endpoint]:
            self._quiet[shape] = 0 if shape in alone else self._quiet[shape] + 1
            if self._quiet[shape] >= QUIET_MAX:
                del self._quiet[shape]
                evidence = self._evidence[shape]
                evidence.proven, evidence.itself, evidence.candidate = False, 0, 0

    @property
    def marks(self) -> str:
        """Known by it are the marks that stand for values: another key makes others."""
        return self._mark("")

    def asked(self, endpoint: str) -> int:
        """How many requests to *endpoint* were learned from."""
        return self._asked.get(endpoint, 0)

    def restore(self, asked: Mapping[str, int], evidence: Mapping[Shape, Evidence]) -> None:
        """Go on from what `kept` told."""
        self._asked.update(asked)
        self._evidence.update(evidence)
        self._quiet = {shape: 0 for shape, one in self._evidence.items() if one.proven}

    def kept(self) -> tuple[Mapping[str, int], Mapping[Shape, Evidence]]:
        """What was learned, for `restore`: requests by endpoint, and evidence by shape."""
        return self._asked, self._evidence

    def unsay(self) -> None:
        """Nothing that was said holds any more."""
        self._said.clear()

    def say(self, shape: Shape, verdict: Verdict, because: str) -> None:
        """*verdict* holds for *shape* from now on, whatever is learned."""
        if shape not in self._said and len(self._said) >= SHAPES_MAX:
            raise ValueError(f"{SHAPES_MAX} shapes were judged by hand; write a rule instead")
        self._said[shape] = (verdict, because)

    def verdict(self, shape: Shape) -> Verdict:
        """What is to be done with differences of *shape*."""
        return self._judged(shape)[0]

    def sort(
        self, endpoint: str, differences: Iterable[Difference]
    ) -> Mapping[Verdict, list[Difference]]:
        """*differences* by what is to be done with them; in the order they were in."""
        sorted_: dict[Verdict, list[Difference]] = {verdict: [] for verdict in Verdict}
        for one in differences:
            sorted_[self._verdict_of(endpoint, one)].append(one)
        return sorted_

    def is_proven(self, shape: Shape) -> bool:
        """Whether the candidate was shown to differ in *shape* more often than the primary."""
        evidence = self._evidence.get(shape)
        return evidence is not None and evidence.proven

    def learned(self) -> Iterator[Learned]:
        """All that is known, and why each is judged as it is."""
        for shape in {**self._evidence, **self._said}:
            verdict, because = self._judged(shape)
            evidence = self._evidence.get(shape, Evidence())
            odd = evidence.looks.odd() if evidence.looks else ()
            if verdict is Verdict.NOISE and odd:
                because += f"; what the candidate says is too often {', '.join(odd)}"
            yield Learned(shape, verdict, self._asked.get(shape.endpoint, 0), evidence, because)

    def _verdict_of(self, endpoint: str, one: Difference) -> Verdict:
        shape = one.shape(endpoint)
        verdict = self.verdict(shape)
        if verdict is not Verdict.NOISE or shape in self._said:
            return verdict
        looks = self._evidence[shape].looks
        told = one.primary if one.candidate == ABSENT else one.candidate
        if looks is None or not looks.is_strange(
            one.primary, one.candidate, lambda: self._mark(told)
        ):
            return verdict
        return Verdict.KEEP

    def _judged(self, shape: Shape) -> tuple[Verdict, str]:
        if shape in self._said:
            return self._said[shape]
        asked = self._asked.get(shape.endpoint, 0)
        evidence = self._evidence.get(shape, Evidence())
        itself = evidence.itself + evidence.both
        if evidence.proven:
            return Verdict.KEEP, f"the candidate differs more often than chance explains: {asked}"
        if evidence.streak.is_won:
            return Verdict.KEEP, f"the primary differed from itself in {itself} of {asked} alone"
        if itself > asked * SELDOM_MAX:
            return Verdict.NOISE, f"the primary differed from itself in {itself} of {asked}"
        if shape.kind is Kind.MALFORMED or asked >= ASKED_MIN:
            # The "rule of three": with 95 % confidence, less often than in 3 of *asked*.
            often = f"in {itself}" if itself else "never"
            return Verdict.KEEP, f"the primary differed from itself {often} of {asked}"
        return Verdict.UNDECIDED, f"the primary was asked twice {asked} of {ASKED_MIN} times"


def _log_choose(count: int, chosen: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)


def _log_sum_of_choices(count: int, last: int) -> float:
    """The logarithm of the sum of `comb(count, i)` for i up to and with *last*."""
    logs = [_log_choose(count, index) for index in range(last + 1)]
    largest = max(logs)
    return largest + math.log(math.fsum(math.exp(one - largest) for one in logs))

"""Requests that write: the candidate runs them dry, and what it would have written is compared.

A dry run is asked for by a method and at an address that mean nothing to a service without an
agent, whatever became of the candidate since: it cannot take one for the request itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

from moreton.envoy.core.copies import (
    COPY_HEADER,
    DRY,
    DRY_RUN_HEADER,
    DRY_RUN_METHOD,
    DRY_RUN_PATH,
    EFFECTS_HEADER,
    Shown,
    asks,
)
from moreton.strangler.agent.core.packing import Writes, grouped, unpack
from moreton.strangler.agent.core.standing import Standing, read_told
from moreton.strangler.compare.comparer import compare
from moreton.strangler.compare.core.answers import Answer
from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.core.differences import ABSENT, Comparison, Difference, Kind
from moreton.strangler.compare.core.noise.learning import ASKED_MIN, Verdict
from moreton.strangler.compare.core.questions import Question, rewritten
from moreton.strangler.compare.core.rules.rulebook import Rulebook
from moreton.strangler.compare.serving.asking import Asker, NoAnswer
from moreton.strangler.compare.serving.keeping import Keeper, Told
from moreton.strangler.compare.serving.permitting import fits
from moreton.strangler.compare.written import write_answer

if TYPE_CHECKING:
    from moreton.strangler.compare.serving.judging import Ready

DRY_RUN = "DRY-RUN"  # instead of a method, in what is kept: such a request is not asked by hand
_SKIPPED = Counts(skipped=1)
_WROTE = frozenset({Standing.WROTE, Standing.WRITES})
_JSON = [("content-type", "application/json")]


@dataclass(frozen=True, slots=True)
class Side:
    """What one side answered, and what it wrote or would have."""

    answer: Answer
    writes: Writes

    def documents(self) -> tuple[Answer, Answer]:
        """Both as what can be compared."""
        found = self.writes
        body = json.dumps(grouped(found) | ({"more": True} if found.more else {}))
        return self.answer, Answer(HTTPStatus.OK, _JSON, body.encode())


class DryRuns:
    """Judges requests that wrote, from any number of threads; *key* is known to both agents."""

    def __init__(self, asker: Asker, keeper: Keeper, key: str) -> None:
        self._asker = asker
        self._keeper = keeper
        self._key = key
        self._turns, self._learned = count(), count()
        self._lock = threading.Lock()

    def judge(self, shown: Shown, ready: Ready) -> Counts:
        """Compare *shown*, if dry runs are declared and the application told what it wrote."""
        live = ready.task.live
        told = read_told(dict(shown.answer_headers).get(EFFECTS_HEADER))
        writes = unpack(told.writes) if told.writes else None
        if not (live.dry_run and self._key and fits(shown, live)):
            return _SKIPPED
        if told.standing not in _WROTE or writes is None or not told.endpoint:
            return _SKIPPED
        answer = Answer(
            shown.status, shown.answer_headers, shown.answer_body, complete=shown.answer_complete
        )
        return self._compare(shown, ready, told.endpoint, Side(answer, writes))

    def _compare(self, shown: Shown, ready: Ready, endpoint: str, primary: Side) -> Counts:
        candidate = self._ask(shown, ready)
        telling = _Telling(self._keeper, ready, shown)
        if isinstance(candidate, NoAnswer):
            found = [Difference("status", Kind.MISSING, str(primary.answer.status), ABSENT)]
            telling.tell(endpoint, found, primary.answer, candidate.why)
            return Counts(compared=1, different=1, unanswered=1)
        if candidate.writes.blocked:
            # What came after it depends on an answer that it did not get.
            return Counts(compared=1, undecided=1)
        first = list(_compared(endpoint, primary, candidate, ready.rules))
        self._learn(shown, ready, candidate, first)
        kept: dict[str, list[Difference]] = {}
        undecided = False
        for name, comparison in first:
            sorted_ = self._keeper.sort(name, comparison.differences)
            undecided = undecided or bool(sorted_[Verdict.UNDECIDED])
            if sorted_[Verdict.KEEP]:
                kept[name] = sorted_[Verdict.KEEP]
        lasting = self._lasting(shown, ready, primary, kept) if kept else {}
        if not lasting:
            return Counts(compared=1, undecided=int(undecided and not kept))
        sides = zip(primary.documents(), candidate.documents(), strict=True)
        for (name, _), (one, other) in zip(first, sides, strict=True):
            if lasting.get(name):
                telling.tell(name, lasting[name], one, other)
        return Counts(compared=1, different=1)

    def _learn(
        self,
        shown: Shown,
        ready: Ready,
        candidate: Side,
        first: Sequence[tuple[str, Comparison]],
    ) -> None:
        """Run it dry once more, at first always, to see where the candidate differs from itself.

        The primary cannot be asked twice. Were both the same, it would not matter which of them is.
        """
        share = ready.task.live.ask_twice
        knows = self._keeper.asked(first[0][0]) >= ASKED_MIN
        if share <= 0 or (knows and next(self._learned) % round(1 / share)):
            return
        again = self._ask(shown, ready)
        if isinstance(again, Side):
            itself = _compared(first[0][0], candidate, again, ready.rules)
            for (name, comparison), (_, own) in zip(first, itself, strict=True):
                self._keeper.learn(name, own, comparison)

    def _lasting(
        self, shown: Shown, ready: Ready, primary: Side, kept: dict[str, list[Difference]]
    ) -> dict[str, list[Difference]]:
        """Those of *kept* that are there when it is run dry again."""
        again = self._ask(shown, ready)
        if isinstance(again, NoAnswer):
            return kept
        endpoint = next(iter(kept)).removesuffix(_WRITES)
        there = {
            name: {one.shape("") for one in comparison.differences}
            for name, comparison in _compared(endpoint, primary, again, ready.rules)
        }
        return {
            name: left
            for name, found in kept.items()
            if (left := [one for one in found if one.shape("") in there[name]])
        }

    def _ask(self, shown: Shown, ready: Ready) -> Side | NoAnswer:
        places = ready.task.candidate
        if not places:
            return NoAnswer("it has no instance")
        how = ready.task.rewriting
        headers = [
            pair
            for pair in rewritten(shown.headers, shown.host, how, (COPY_HEADER, "candidate"))
            if pair[0] not in {EFFECTS_HEADER, DRY_RUN_HEADER}
        ]
        question = Question(
            DRY_RUN_METHOD,
            DRY_RUN_PATH,
            [
                *headers,
                (EFFECTS_HEADER, asks(DRY, self._key)),
                (DRY_RUN_HEADER, f"{shown.method} {how.target(shown.target)}"),
            ],
            shown.body,
        )
        with self._lock:
            place = places[next(self._turns) % len(places)]
        answer = self._asker.ask(place, question, ready.task.live.timeout.total_seconds())
        if isinstance(answer, NoAnswer):
            return answer
        told = read_told(answer.header(EFFECTS_HEADER))
        writes = unpack(told.writes)
        if told.standing is not Standing.DRY or writes is None:
            return NoAnswer(f"no dry run: {answer.status}, and no agent that knows the key")
        return Side(answer, writes)


_WRITES = " (writes)"


def _compared(
    endpoint: str, primary: Side, candidate: Side, rules: Rulebook
) -> Iterator[tuple[str, Comparison]]:
    """The answers by the name *endpoint*, and the writes by one of their own."""
    sides = zip(primary.documents(), candidate.documents(), strict=True)
    for name, (one, other) in zip((endpoint, endpoint + _WRITES), sides, strict=True):
        yield name, compare(one, other, rules)


@dataclass(frozen=True, slots=True)
class _Telling:
    keeper: Keeper
    ready: Ready
    shown: Shown

    def tell(
        self, endpoint: str, found: Sequence[Difference], primary: Answer, candidate: Answer | str
    ) -> None:
        redactor = self.ready.redactor

        def told() -> Told:
            return Told(
                f"{DRY_RUN} {self.shown.method} {self.shown.target.partition('?')[0]}",
                write_answer(primary, redactor),
                candidate if isinstance(candidate, str) else write_answer(candidate, redactor),
                [redactor.difference(one) for one in found],
            )

        self.keeper.add(endpoint, found, datetime.now(UTC), route=self.shown.route, tell=told)

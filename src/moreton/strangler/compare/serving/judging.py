"""What becomes of one request that was shown: skipped, or asked, compared and told."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count
from urllib.parse import parse_qsl, urlencode

from moreton.envoy.core.copies import COPY_HEADER, EFFECTS_HEADER, Shown
from moreton.kernel.rng import Rng
from moreton.strangler.compare.comparer import compare
from moreton.strangler.compare.core.answers import Answer
from moreton.strangler.compare.core.content import Form
from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.core.differences import (
    ABSENT,
    Comparison,
    Difference,
    Kind,
    Shape,
)
from moreton.strangler.compare.core.documents import Place, Task
from moreton.strangler.compare.core.live import SideEffects
from moreton.strangler.compare.core.noise.learning import ASKED_MIN, Verdict
from moreton.strangler.compare.core.questions import Question, endpoint_of, rewritten
from moreton.strangler.compare.core.redaction import Mark, Redactor
from moreton.strangler.compare.core.rules.defaults import DEFAULT_RULES
from moreton.strangler.compare.core.rules.rulebook import Rule, Rulebook
from moreton.strangler.compare.serving.asking import Asker, NoAnswer
from moreton.strangler.compare.serving.dry_runs import DryRuns
from moreton.strangler.compare.serving.keeping import Keeper, Told
from moreton.strangler.compare.serving.permitting import fits
from moreton.strangler.compare.written import write_answer

_SAFE = "safe"
_SAME = Counts(compared=1)


@dataclass(frozen=True, slots=True)
class Ready:
    """A task with what follows from it: rules and redaction."""

    task: Task
    rules: Rulebook
    redactor: Redactor

    @classmethod
    def of(cls, task: Task, accepted: Iterable[Rule], mark: Mark) -> Ready:
        """*task*, whose rules come after the defaults, and what was *accepted* after those."""
        own = [Rule.parse(*one) for one in task.live.rules]
        rules = Rulebook([*DEFAULT_RULES, *own, *accepted])
        return cls(task, rules, Redactor(mark, task.live.redact))


class Judge:
    """Judges requests from any number of threads; what differs goes to *keeper*."""

    def __init__(self, asker: Asker, keeper: Keeper, rng: Rng, *, key: str = "") -> None:
        self._asker = asker
        self._keeper = keeper
        self._rng = rng
        self._dry_runs = DryRuns(asker, keeper, key)
        self._turns = count()
        self._lock = threading.Lock()

    def judge(self, shown: Shown, ready: Ready) -> Counts:
        """Compare, unless it must not be copied; what it counts as."""
        endpoint = _permitted(shown, ready.task)
        if endpoint is None:
            return self._dry_runs.judge(shown, ready)
        primary = Answer(
            shown.status, shown.answer_headers, shown.answer_body, complete=shown.answer_complete
        )
        asked = _Asked(self._asker, ready, shown, next(self._turns))
        candidate = asked.candidate()
        if isinstance(candidate, NoAnswer):
            found = [Difference("status", Kind.MISSING, str(primary.status), ABSENT)]
            self._tell(ready, shown, endpoint, found, primary=primary, candidate=candidate)
            return Counts(compared=1, different=1, unanswered=1)
        difference = compare(primary, candidate, ready.rules)
        self._learn(endpoint, ready, asked, primary, difference)
        if not difference:
            return _SAME
        self._keeper.watch(endpoint, difference)
        sorted_ = self._keeper.sort(endpoint, difference.differences)
        kept, unknown = sorted_[Verdict.KEEP], sorted_[Verdict.UNDECIDED]
        if not ready.task.live.ask_twice:  # nobody will ever know more
            kept, unknown = kept + unknown, []
        if not kept:
            return Counts(compared=1, undecided=int(bool(unknown)))
        kept = self._lasting(endpoint, asked, primary, candidate, found=kept)
        if not kept:
            return _SAME
        self._tell(ready, shown, endpoint, kept, primary=primary, candidate=candidate)
        return Counts(compared=1, different=1)

    def _learn(
        self, endpoint: str, ready: Ready, asked: _Asked, primary: Answer, found: Comparison
    ) -> None:
        """Ask the primary again, of every request at first, to see where it differs from itself."""
        share = ready.task.live.ask_twice
        with self._lock:
            chosen = share > 0 and (
                self._rng.random() < share or self._keeper.asked(endpoint) < ASKED_MIN
            )
        if not chosen:
            return
        again = asked.primary()
        if isinstance(again, Answer):
            self._keeper.learn(endpoint, compare(primary, again, ready.rules), found)

    def _lasting(
        self,
        endpoint: str,
        asked: _Asked,
        *answers: Answer,
        found: list[Difference],
    ) -> list[Difference]:
        """Those of *found* that are there again when both are asked once more.

        What changed meanwhile, and what the primary says otherwise now, is nobody's fault. A
        candidate that fails is told of at once: it may fail one time in ten. So is what it was
        shown to do before; of one that says each time something else, that is learned here.
        """
        rules, (primary, candidate) = asked.ready.rules, answers
        failed = candidate.status >= HTTPStatus.INTERNAL_SERVER_ERROR > primary.status
        if failed:
            return found
        after = asked.primary() if asked.ready.task.live.ask_twice else primary
        again = asked.candidate()
        if isinstance(after, NoAnswer) or isinstance(again, NoAnswer):
            return found
        moved = compare(primary, after, rules)
        if after is not primary:
            # Were both alike, whichever of the four answers is the odd one would be by chance.
            self._keeper.learn(endpoint, moved, compare(candidate, again, rules))
        proven = {
            shape
            for shape in {one.shape(endpoint) for one in found}
            if self._keeper.is_proven(shape)
        }
        gone = self._kept(endpoint, moved) - proven
        there = self._kept(endpoint, compare(after, again, rules)) | proven
        return [one for one in found if one.shape(endpoint) in there - gone]

    def _kept(self, endpoint: str, found: Comparison) -> set[Shape]:
        """The shapes of what is no noise."""
        sorted_ = self._keeper.sort(endpoint, found.differences)
        counting = (*sorted_[Verdict.KEEP], *sorted_[Verdict.UNDECIDED])
        return {one.shape(endpoint) for one in counting}

    def _tell(
        self,
        ready: Ready,
        shown: Shown,
        endpoint: str,
        found: Sequence[Difference],
        *,
        primary: Answer,
        candidate: Answer | NoAnswer,
    ) -> None:
        redactor = ready.redactor

        def told() -> Told:
            if isinstance(candidate, NoAnswer):
                side = candidate.why
            else:
                side = write_answer(candidate, redactor)
            return Told(
                f"{shown.method} {_redacted(shown.target, redactor)}",
                write_answer(primary, redactor),
                side,
                [redactor.difference(one) for one in found],
            )

        self._keeper.add(endpoint, found, datetime.now(UTC), route=shown.route, tell=told)


class _Asked:
    """The services that are asked of one request; *turn* spreads questions over their places."""

    def __init__(self, asker: Asker, ready: Ready, shown: Shown, turn: int) -> None:
        self._asker = asker
        self.ready = ready
        self._shown = shown
        self._turn = turn

    def candidate(self) -> Answer | NoAnswer:
        return self._ask(self.ready.task.candidate, "candidate")

    def primary(self) -> Answer | NoAnswer:
        return self._ask(self.ready.task.primary, "primary")

    def _ask(self, places: Sequence[Place], whom: str) -> Answer | NoAnswer:
        if not places:
            return NoAnswer("it has no instance")
        shown, how = self._shown, self.ready.task.rewriting
        question = Question(
            shown.method,
            how.target(shown.target),
            rewritten(shown.headers, shown.host, how, (COPY_HEADER, whom)),
            shown.body,
        )
        place = places[self._turn % len(places)]
        return self._asker.ask(place, question, self.ready.task.live.timeout.total_seconds())


def _permitted(shown: Shown, task: Task) -> str | None:
    """The endpoint of *shown*; `None` if it must not be copied."""
    live = task.live
    endpoint = endpoint_of(shown.method, shown.target)
    effects = dict(shown.answer_headers).get(EFFECTS_HEADER, "")
    word, _, rest = effects.partition(";")
    told = rest.partition('route="')[2].rpartition('"')[0]
    permitted = {
        SideEffects.NONE: True,
        SideEffects.RECORDED: word.strip() == _SAFE,
        SideEffects.UNKNOWN: False,
    }[live.side_effects]
    return (told or endpoint) if permitted and fits(shown, live) else None


def _redacted(target: str, redactor: Redactor) -> str:
    path, mark, query = target.partition("?")
    if not query:
        return target
    content = redactor.content(Form(parse_qsl(query, keep_blank_values=True)))
    assert isinstance(content, Form)
    return f"{path}{mark}{urlencode(list(content.fields))}"

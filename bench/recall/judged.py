"""Has requests judged as a collector does it, and says what came of each."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path

from bench.recall.pair import Pair
from bench.recall.traffic import Wanted
from bench.recall.twin import SEEN_HEADER
from moreton.envoy.core.copies import COPY_HEADER, Shown
from moreton.kernel.rng import system_rng
from moreton.strangler.compare import Answer, Difference, Rulebook, Verdict, compare
from moreton.strangler.compare.core.documents import Place, Task
from moreton.strangler.compare.core.live import Live, SideEffects
from moreton.strangler.compare.core.questions import Question
from moreton.strangler.compare.serving.asking import Asker, NoAnswer
from moreton.strangler.compare.serving.judging import Judge, Ready
from moreton.strangler.compare.serving.keeping import Keeper, Told

_THREADS = 4
_SECONDS = 20.0
_NOTHING = Rulebook()
METHODS = frozenset({"GET", "HEAD"})


@dataclass(slots=True)
class Found:
    """What came of requests, by their numbers.

    Those told *different*; those that differ where only the rules are known, not what was learned
    (*ruled*); and those that differ at all (*naive*).
    """

    compared: int = 0
    undecided: int = 0
    different: set[int] = field(default_factory=set)
    ruled: set[int] = field(default_factory=set)
    naive: set[int] = field(default_factory=set)
    told: dict[int, list[str]] = field(default_factory=dict)  # the shapes, by request

    def __add__(self, more: Found) -> Found:
        return Found(
            self.compared + more.compared,
            self.undecided + more.undecided,
            self.different | more.different,
            self.ruled | more.ruled,
            self.naive | more.naive,
            self.told | more.told,
        )


class Judged:
    """The product's judge between *pair*; what it learns and finds is in the file *path*."""

    def __init__(self, pair: Pair, path: Path) -> None:
        self._pair = pair
        self._keeper = _Keeper(path)
        self._asker = _Asker()
        self._judge = Judge(self._asker, self._keeper, system_rng())
        live = Live("shop", "shop", "new", side_effects=SideEffects.NONE, methods=METHODS)
        primary, candidate = (("127.0.0.1", port) for port in (pair.primary, pair.candidate))
        self._ready = Ready.of(Task(live, [primary], [candidate]), [], "<{}>".format)
        self._lock = threading.Lock()

    def of(
        self,
        wanted: Sequence[Callable[[], Wanted]],
        numbers: Iterator[int],
        middle: Callable[[], None] | None = None,
    ) -> Found:
        """What is found in requests, a few at a time; *middle* happens when half of them were."""
        found = Found()
        self._keeper.told = found.told
        half = len(wanted) // 2
        made = [(next(numbers), make()) for make in wanted]
        with ThreadPoolExecutor(_THREADS) as threads:
            parts = [made[:half], made[half:]] if middle else [made]
            for index, part in enumerate(parts):
                if middle and index:
                    middle()
                for work in [threads.submit(self._one, *one, found) for one in part]:
                    work.result()
        return found

    def close(self) -> None:
        """Write down what was learned."""
        self._keeper.save()
        self._keeper.close()
        self._asker.close()

    def _one(self, number: int, wanted: Wanted, found: Found) -> None:
        headers = [*wanted.headers, (SEEN_HEADER, str(number))]
        host = f"127.0.0.1:{self._pair.primary}"
        question = Question(wanted.method, wanted.target, [("host", host), *headers])
        primary = self._asker.ask(("127.0.0.1", self._pair.primary), question, _SECONDS)
        if isinstance(primary, NoAnswer):
            raise TypeError(f"no answer to {wanted.target}: {primary.why}")
        self._keeper.here.sorted, self._keeper.here.number = False, number
        counts = self._judge.judge(_shown(wanted, host, headers, primary), self._ready)
        candidate = self._asker.answers.pop(number)
        naive = candidate is None or _differ(primary, candidate)
        with self._lock:
            found.compared += counts.compared
            found.undecided += counts.undecided
            found.different |= {number} if counts.different else set()
            found.ruled |= {number} if self._keeper.here.sorted else set()
            found.naive |= {number} if naive else set()


@contextmanager
def judged(pair: Pair, path: Path, learned: Path | None = None) -> Iterator[Judged]:
    """Judging that goes on from what another file has *learned*, and leaves that file as it is."""
    if learned is not None:
        for ending in (".sqlite", ".key"):  # values are kept as marks, by that key
            shutil.copy(learned.with_suffix(ending), path.with_suffix(ending))
    made = Judged(pair, path)
    try:
        yield made
    finally:
        made.close()


def numbers_from(start: int = 1) -> Iterator[int]:
    """A number for each request."""
    return count(start)


def _differ(primary: Answer, candidate: Answer) -> bool:
    """Whether anything does; bodies are only read where that is not known before."""
    heads = replace(primary, body=b""), replace(candidate, body=b"")
    return bool(compare(*heads, _NOTHING)) or bool(compare(primary, candidate, _NOTHING))


def _shown(wanted: Wanted, host: str, headers: Sequence[tuple[str, str]], primary: Answer) -> Shown:
    return Shown(
        "shop",
        wanted.method,
        wanted.target,
        host,
        headers,
        service="shop",
        status=primary.status,
        answer_headers=primary.headers,
        answer_body=primary.body,
        answer_complete=primary.complete,
    )


class _Asker(Asker):
    """Remembers what the candidate answered first to each request."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[int, Answer | None] = {}

    def ask(self, place: Place, question: Question, seconds: float) -> Answer | NoAnswer:
        answer = super().ask(place, question, seconds)
        fields = dict(question.headers)
        if fields.get(COPY_HEADER) == "candidate":
            kept = answer if isinstance(answer, Answer) else None
            self.answers.setdefault(int(fields[SEEN_HEADER]), kept)
        return answer


class _Keeper(Keeper):
    """Remembers what is told of each request."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.told: dict[int, list[str]] = {}
        # This thread's request: its number, and whether it differs by the rules.
        self.here = threading.local()

    def sort(
        self, endpoint: str, found: Iterable[Difference]
    ) -> Mapping[Verdict, list[Difference]]:
        self.here.sorted = True
        return super().sort(endpoint, found)

    def add(
        self,
        endpoint: str,
        found: Sequence[Difference],
        now: datetime,
        *,
        route: str,
        tell: Callable[[], Told],
    ) -> bool:
        self.told[self.here.number] = [" ".join(one.shape(endpoint)) for one in found]
        return super().add(endpoint, found, now, route=route, tell=tell)

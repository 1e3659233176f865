"""Takes what Envoys show, and has it judged by a few threads: what they cannot do is dropped."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from moreton.envoy.core.copies import KEY_VARIABLE, Shown
from moreton.kernel.rng import system_rng
from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.core.documents import Task
from moreton.strangler.compare.core.rules.rulebook import Rule
from moreton.strangler.compare.errors import DifferencesUnreadable
from moreton.strangler.compare.serving.asking import Asker
from moreton.strangler.compare.serving.judging import Judge, Ready
from moreton.strangler.compare.serving.keeping import Keeper, mark_of

_LOG = logging.getLogger("moreton.compare")
# Threads wait for answers most of the time; comparing itself is of one core.
WORKERS = 8
# What waits is old when its turn comes: a few seconds of work, and no more memory than this.
WAITING_MAX = 512
WAITING_BYTES_MAX = 64 * 1024 * 1024


class Collector:
    """Judges what it is given, in the file *path*, by the tasks that it was told last."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._keeper = Keeper(path)
        self._asker = Asker()
        self._judge = Judge(
            self._asker, self._keeper, system_rng(), key=os.environ.get(KEY_VARIABLE, "")
        )
        self._mark = mark_of(path)
        self._tasks: Mapping[str, Task] = {}
        self._accepted: Sequence[tuple[str, Rule]] = ()
        self._ready: Mapping[str, Ready] = {}
        self._counts: dict[str, Counts] = {}
        self._lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="compare")

    def follow(self, tasks: Mapping[str, Task]) -> None:
        """Compare *tasks*, by route, from now on."""
        if tasks != self._tasks:
            self._tasks = dict(tasks)
            self._prepare()

    def offer(self, shown: Shown) -> None:
        """Have *shown* judged, or drop it; returns at once."""
        size = len(shown.body) + len(shown.answer_body)
        ready = self._ready.get(shown.route)
        with self._lock:
            full = self._waiting >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES_MAX
            if ready is None or full:
                self._add(shown.route, Counts(skipped=1) if ready is None else Counts(dropped=1))
                return
            self._waiting += 1
            self._waiting_bytes += size
        self._threads.submit(self._work, shown, ready, size)

    def lose(self, route: str) -> None:
        """A request of *route* was sampled, and is not known as a whole."""
        with self._lock:
            self._add(route, Counts(dropped=1))

    def counts(self) -> Mapping[str, Counts]:
        """What became of everything so far, by route."""
        with self._lock:
            return dict(self._counts)

    def tend(self) -> None:
        """Cut what is late, write down what was learned, take what people said."""
        self._asker.cut_late()
        with suppress(DifferencesUnreadable):
            accepted = self._keeper.save()
            if accepted != self._accepted:
                self._accepted = accepted
                self._prepare()

    def cut_late(self) -> None:
        """End the questions whose time is over."""
        self._asker.cut_late()

    def close(self) -> None:
        """Judge nothing more."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._asker.close()
        self._keeper.close()

    def _prepare(self) -> None:
        self._ready = {
            route: Ready.of(
                task, [rule for where, rule in self._accepted if where in {"", route}], self._mark
            )
            for route, task in self._tasks.items()
        }

    def _work(self, shown: Shown, ready: Ready, size: int) -> None:
        found = Counts(dropped=1)
        try:
            found = self._judge.judge(shown, ready)
        except DifferencesUnreadable as error:
            _LOG.warning("%s", error)
        except Exception:  # noqa: BLE001 - a fault of ours with one request must not end the others
            _LOG.exception("%s %s could not be compared", shown.method, shown.route)
        finally:
            with self._lock:
                self._waiting -= 1
                self._waiting_bytes -= size
                self._add(shown.route, found)

    def _add(self, route: str, found: Counts) -> None:
        self._counts[route] = self._counts.get(route, Counts()) + found

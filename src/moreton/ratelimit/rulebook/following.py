"""Where the rules of a service come from, and how it learns that they changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from moreton.config import ConfigRefused
from moreton.kernel.arguments import check_duration
from moreton.kernel.places import Finder
from moreton.kernel.time import nanos_of
from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.config.loading import DEFAULT_FILE, load_limits
from moreton.ratelimit.core.rules.values import Limits
from moreton.ratelimit.rulebook.asking import RulesAsker
from moreton.ratelimit.rulebook.book import Rulebook
from moreton.ratelimit.rulebook.places import files_of, stamps

Run: TypeAlias = Callable[[Callable[[], None]], None]
_EVERY = timedelta(seconds=1)
_ASK_EVERY = timedelta(seconds=2)
_log = logging.getLogger("moreton.ratelimit")


def follow_file(
    path: Path | str = DEFAULT_FILE,
    *,
    service: str = "",
    every: timedelta = _EVERY,
    background: bool = True,
    clock: LimitClock = SYSTEM,
) -> Rulebook:
    """The rules in *path*, a file or a folder, for the service of that name.

    A request looks at most *every* so often whether a file changed: no thread runs for that. Then
    all are read anew, in the *background* by a thread that ends with it, else before the request
    goes on. What cannot be meant is refused, logged once, and what held before still does.

    Raises `ConfigRefused` when the rules cannot be meant at the beginning.
    """
    check_duration("every", every, "each request would look at files", zero=True)
    path = Path(path)
    book = Rulebook(load_limits(path), service=service, clock=clock)
    run = _in_thread if background else _at_once
    book.watch(_FileLook(path, book, nanos_of(every), clock, run).look)
    return book


def follow_control_plane(
    *,
    service: str = "",
    api: str | None = None,
    token: str | None = None,
    every: timedelta = _ASK_EVERY,
    fallback: Path | str | None = None,
) -> Rulebook:
    """The rules and the bans of the control plane, asked for *every* so often by a thread.

    *api* and *token* are found as `report_limits` finds them. While no node answers what was known
    last holds; until one did for the first time, the rules in the file *fallback*, or none.
    """
    check_duration("every", every, "it would do nothing else")
    limits = load_limits(fallback) if fallback is not None else Limits()
    book = Rulebook(limits, service=service)
    asker = RulesAsker(Finder(api=api, token=token), book, every.total_seconds())
    asker.ask()
    asker.start()
    book.watch(asker.start)  # in a process that was forked from this one
    return book


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="moreton-rules", daemon=True).start()


def _at_once(work: Callable[[], None]) -> None:
    work()


class _FileLook:
    def __init__(self, path: Path, book: Rulebook, every: int, clock: LimitClock, run: Run) -> None:
        self._run = run
        self._path = path
        self._book = book
        self._every = every
        self._clock = clock
        self._next = clock.monotonic() + every
        self._lock = Lock()
        self._known = self._stamps()

    def look(self) -> None:
        """Read the rules anew if it is time and a file changed; others go on meanwhile."""
        if self._clock.monotonic() < self._next or not self._lock.acquire(blocking=False):
            return
        self._next = self._clock.monotonic() + self._every
        found = self._stamps()
        if found == self._known:
            self._lock.release()
            return
        # Also of what is refused: it is told once.
        self._known = found
        self._run(self._read)

    def _read(self) -> None:
        try:
            self._book.replace(load_limits(self._path))
            _log.info("the limits of %s changed", self._path)
        except ConfigRefused as refused:
            _log.error("the limits of %s stay as they were:\n%s", self._path, refused)
        except Exception:  # noqa: BLE001 - a request goes on by the rules that there are
            _log.exception("the limits of %s stay as they were", self._path)
        finally:
            self._lock.release()

    def _stamps(self) -> tuple[tuple[str, tuple[int, int]], ...]:
        files = [str(self._path)]
        if self._path.is_dir():
            files = [str(one) for one in sorted(self._path.glob("*.y*ml"))]
        files += files_of(self._book.limits.clients)
        return tuple(zip(files, stamps(files), strict=True))

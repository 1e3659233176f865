"""What a collector knows and finds, kept in its file; for all of its threads."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from moreton.strangler.compare.core.differences import Comparison, Difference, Shape
from moreton.strangler.compare.core.noise.learning import Noise, Verdict
from moreton.strangler.compare.core.rules.rulebook import Rule
from moreton.strangler.compare.sqlite import PAIRS_FIRST, PAIRS_LAST, SHAPES_MAX, Differences

# By the route that it was seen on.
_Seen: TypeAlias = tuple[str, Shape]
_PAIR_EVERY = timedelta(seconds=1)
_KEY_BYTES = 32
_MARK_CHARS = 10


@dataclass(frozen=True, slots=True)
class Told:
    """A request, what both sides said, and in what they differ; all texts are redacted."""

    request: str
    primary: str
    candidate: str
    differences: Sequence[Difference]


class Keeper:
    """Noise and differences, one thread at a time; both outlive the process in the file *path*."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._differences = Differences(path)
        self._noise = Noise(mark_of(path))
        self._kept: dict[_Seen, tuple[int, datetime]] = {}  # how many pairs since the start, when
        self._differences.load_noise(self._noise)

    def sort(
        self, endpoint: str, found: Iterable[Difference]
    ) -> Mapping[Verdict, list[Difference]]:
        """*found* by what is to be done with them."""
        with self._lock:
            return self._noise.sort(endpoint, found)

    def is_proven(self, shape: Shape) -> bool:
        """Whether the candidate was shown to differ in *shape* more often than the primary."""
        with self._lock:
            return self._noise.is_proven(shape)

    def asked(self, endpoint: str) -> int:
        """How often the primary was asked *endpoint* twice."""
        with self._lock:
            return self._noise.asked(endpoint)

    def learn(self, endpoint: str, itself: Comparison, candidate: Comparison) -> None:
        """One request of which the primary was asked twice."""
        with self._lock:
            self._noise.learn(endpoint, itself, candidate)

    def watch(self, endpoint: str, candidate: Comparison) -> None:
        """One request, before its differences are sorted."""
        with self._lock:
            self._noise.watch(endpoint, candidate)

    def add(
        self,
        endpoint: str,
        found: Sequence[Difference],
        now: datetime,
        *,
        route: str,
        tell: Callable[[], Told],
    ) -> bool:
        """What one request showed; whether a pair was kept of it, which *tell* is asked for.

        All are counted. Of what is seen all the time a pair each second is enough: to write one
        takes longer than to compare it.
        """
        seen = {(route, one.shape(endpoint)) for one in found}
        with self._lock:
            due = any(self._is_due(one, now) for one in seen)
            if due:
                self._note(seen, now)
            else:
                self._differences.count(endpoint, found, now)
        if due:
            told = tell()
            with self._lock:
                self._differences.add(
                    endpoint,
                    told.differences,
                    now,
                    request=told.request,
                    primary=told.primary,
                    candidate=told.candidate,
                    route=route,
                )
        return due

    def save(self) -> Sequence[tuple[str, Rule]]:
        """Write down what was learned, and take what people said: rules they accepted, by route."""
        with self._lock:
            self._differences.save_noise(self._noise)
            self._differences.load_verdicts(self._noise)
            return self._differences.ruled()

    def close(self) -> None:
        """Write down what was learned, and let go of the file."""
        with self._lock:
            self._differences.save_noise(self._noise)
            self._differences.close()

    def _is_due(self, seen: _Seen, now: datetime) -> bool:
        kept, last = self._kept.get(seen, (0, now))
        # A clock may be set back.
        return kept < PAIRS_FIRST + PAIRS_LAST or abs(now - last) >= _PAIR_EVERY

    def _note(self, shown: Iterable[_Seen], now: datetime) -> None:
        if len(self._kept) > SHAPES_MAX:
            self._kept.clear()
        for seen in shown:
            self._kept[seen] = self._kept.get(seen, (0, now))[0] + 1, now


def mark_of(path: Path) -> Callable[[str], str]:
    """What stands for a secret, the same each time; its key lies beside the file *path*."""
    key_file = path.with_suffix(".key")
    if not key_file.exists():
        key_file.touch(mode=0o600)
        key_file.write_bytes(secrets.token_bytes(_KEY_BYTES))
    key = key_file.read_bytes()

    def mark(text: str) -> str:
        made = hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()
        return f"<{made[:_MARK_CHARS]}>"

    return mark

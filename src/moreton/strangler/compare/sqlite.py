"""Keeps differences in a file of SQLite: how often each shape was seen, and a few pairs of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from moreton.strangler.compare.core.differences import Difference, Kind, Shape
from moreton.strangler.compare.core.noise.learning import Learned, Noise, Verdict
from moreton.strangler.compare.core.rules.rulebook import RULES_MAX, Rule
from moreton.strangler.compare.errors import DifferencesUnreadable, NoSuchPair
from moreton.strangler.compare.noise_rows import (
    load_noise,
    load_verdicts,
    numbers_of,
    save_noise,
    say_verdict,
)

SHAPES_MAX = 10_000
# The first show how it began, the last how it is now; those between say the same.
PAIRS_FIRST = 2
PAIRS_LAST = 3
SIDE_CHARS_MAX = 64 * 1024
_BUSY_SECONDS = 10.0
_VERSION = 3
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS shapes (
    id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, field TEXT NOT NULL, kind TEXT NOT NULL,
    count INTEGER NOT NULL, first_seen REAL NOT NULL, last_seen REAL NOT NULL,
    UNIQUE (endpoint, field, kind)
);
CREATE TABLE IF NOT EXISTS pairs (
    id INTEGER PRIMARY KEY, shape INTEGER NOT NULL REFERENCES shapes (id), seen REAL NOT NULL,
    request TEXT NOT NULL, primary_side TEXT NOT NULL, candidate_side TEXT NOT NULL,
    differences TEXT NOT NULL, route TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS pairs_of_shape ON pairs (shape, id);
CREATE TABLE IF NOT EXISTS rules_of_routes (
    path TEXT NOT NULL, treatment TEXT NOT NULL, because TEXT NOT NULL, made REAL NOT NULL,
    route TEXT NOT NULL, PRIMARY KEY (path, treatment, route)
);
CREATE TABLE IF NOT EXISTS asked (endpoint TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS noise (
    id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, field TEXT NOT NULL, kind TEXT NOT NULL,
    itself INTEGER NOT NULL, candidate INTEGER NOT NULL, both INTEGER NOT NULL,
    proven INTEGER NOT NULL, said TEXT NOT NULL DEFAULT '', because TEXT NOT NULL DEFAULT '',
    looks TEXT NOT NULL DEFAULT '',
    UNIQUE (endpoint, field, kind)
);
-- Version 2 had rules for all routes.
CREATE TABLE IF NOT EXISTS rules (path, treatment, because, made);
INSERT OR IGNORE INTO rules_of_routes SELECT path, treatment, because, made, '' FROM rules;
DROP TABLE rules;
"""
_MADE = f"PRAGMA user_version = {_VERSION}; COMMIT;"


@dataclass(frozen=True, slots=True)
class Group:
    """All differences of one *shape*: how many, and when; *pairs* are the ids of those kept."""

    shape: Shape
    count: int
    first_seen: datetime
    last_seen: datetime
    pairs: Sequence[int]


@dataclass(frozen=True, slots=True)
class Pair:
    """One request and what both sides said, redacted, as `Differences.add` was given them."""

    id: int
    endpoint: str
    seen: datetime
    request: str
    primary: str
    candidate: str
    differences: Sequence[Difference]
    route: str = ""


class Differences:
    """What was found so far, in the file *path*; one process adds, any number looks.

    Bounded: `SHAPES_MAX` shapes, of each the first and the last few pairs, each side cut to
    `SIDE_CHARS_MAX`. What there was no room for is counted in `overlooked`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.overlooked = 0
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Of one thread at a time: who has several sees to that.
            self._file = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
            with ExitStack() as otherwise:
                otherwise.callback(self._file.close)
                self._open()
                otherwise.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def add(
        self,
        endpoint: str,
        differences: Sequence[Difference],
        now: datetime,
        *,
        request: str,
        primary: str,
        candidate: str,
        route: str = "",
    ) -> None:
        """What one request to *endpoint* showed; all texts are to be redacted already."""
        sides = [text[:SIDE_CHARS_MAX] for text in (request, primary, candidate)]
        told = json.dumps([asdict(one) for one in differences])
        with self._translated(), self._file:
            for shape in dict.fromkeys(one.shape(endpoint) for one in differences):
                self._add(shape, now.timestamp(), [*sides, told, route])

    def count(self, endpoint: str, differences: Sequence[Difference], now: datetime) -> None:
        """As `add`, without a pair."""
        with self._translated(), self._file:
            for shape in dict.fromkeys(one.shape(endpoint) for one in differences):
                self.overlooked += self._row(shape, now.timestamp()) is None

    def groups(self, route: str | None = None) -> list[Group]:
        """All shapes, or those that were seen on *route*, the most frequent first."""
        with self._translated():
            rows = self._file.execute(
                "SELECT shapes.id, endpoint, field, kind, count, first_seen, last_seen, "
                "group_concat(pairs.id) FROM shapes LEFT JOIN pairs ON pairs.shape = shapes.id "
                "WHERE ?1 IS NULL OR pairs.route = ?1 "
                "GROUP BY shapes.id ORDER BY count DESC, shapes.id",
                (route,),
            ).fetchall()
        return [
            Group(
                Shape(endpoint, field, Kind(kind)),
                count,
                _moment(first),
                _moment(last),
                sorted(int(number) for number in (numbers or "").split(",") if number),
            )
            for _, endpoint, field, kind, count, first, last, numbers in rows
        ]

    def pair(self, number: int) -> Pair:
        """The pair of id *number*; raises `NoSuchPair`."""
        with self._translated():
            row = self._file.execute(
                "SELECT endpoint, seen, request, primary_side, candidate_side, differences, "
                "route FROM pairs JOIN shapes ON shapes.id = shape WHERE pairs.id = ?",
                (number,),
            ).fetchone()
        if row is None:
            raise NoSuchPair(
                f"there is no pair {number} in {self._path}: nothing to show; "
                "it was never kept, or has made room for later ones"
            )
        endpoint, seen, request, primary, candidate, told, route = row
        found = [Difference(**{**one, "kind": Kind(one["kind"])}) for one in json.loads(told)]
        return Pair(number, endpoint, _moment(seen), request, primary, candidate, found, route)

    def accept(
        self, path: str, treatment: str, because: str, now: datetime, *, route: str = ""
    ) -> None:
        """From now on *path* is treated so, on all routes or on *route*.

        Raises `ValueError` for what cannot be meant.
        """
        Rule.parse(path, treatment)
        if not because.strip():
            raise ValueError(f"nobody will know why {path!r} is accepted; say because of what")
        if len(self.ruled()) >= RULES_MAX:
            raise ValueError(f"{RULES_MAX} rules were made; accept a wider path")
        with self._translated(), self._file:
            self._file.execute(
                "INSERT OR REPLACE INTO rules_of_routes VALUES (?, ?, ?, ?, ?)",
                (path, treatment, because, now.timestamp(), route),
            )

    def ruled(self) -> Sequence[tuple[str, Rule]]:
        """What was accepted, the oldest first, with the route; empty for all routes."""
        with self._translated():
            rows = self._file.execute(
                "SELECT route, path, treatment, because FROM rules_of_routes ORDER BY made, path"
            ).fetchall()
        return [(route, Rule.parse(*rest)) for route, *rest in rows]

    def rules(self, route: str | None = None) -> Sequence[Rule]:
        """What was accepted of *route* and of all; without one, everything; the oldest first."""
        return [rule for where, rule in self.ruled() if route is None or where in {"", route}]

    def accepted(self) -> Sequence[tuple[str, str, str]]:
        """What people said does not count: a path or a shape, how it is treated, and because."""
        with self._translated():
            rules = self._file.execute(
                "SELECT path, treatment, because FROM rules_of_routes ORDER BY made, path"
            ).fetchall()
            judged = self._file.execute(
                "SELECT endpoint || ' ' || field || ' ' || kind, said, because FROM noise "
                "WHERE said = ? ORDER BY id",
                (Verdict.NOISE,),
            ).fetchall()
        return [*rules, *judged]

    def load_noise(self, noise: Noise) -> None:
        """Let *noise* go on from what `save_noise` wrote, and from what people said."""
        with self._translated():
            load_noise(self._file, noise)

    def save_noise(self, noise: Noise) -> None:
        """Write down what *noise* learned; what people said stays."""
        with self._translated(), self._file:
            save_noise(self._file, noise)

    def load_verdicts(self, noise: Noise) -> None:
        """Let *noise* judge as people said, and no longer as they took back."""
        with self._translated():
            load_verdicts(self._file, noise)

    def judge(self, number: int, verdict: Verdict | None, because: str) -> Shape:
        """Judge the learned shape *number* so, whatever is learned; `None` takes that back.

        Raises `NoSuchPair` if there is none of this number.
        """
        if verdict is not None and not because.strip():
            raise ValueError(f"nobody will know why {number} is {verdict}; say because of what")
        with self._translated(), self._file:
            shape = say_verdict(self._file, number, verdict, because)
        if shape is None:
            raise NoSuchPair(f"nothing of the number {number} was learned; nothing was judged")
        return shape

    def learned(self) -> Sequence[tuple[int, Learned]]:
        """All that is known of noise, with the numbers by which it is judged."""
        noise = Noise()
        self.load_noise(noise)
        with self._translated():
            numbers = numbers_of(self._file)
        return sorted(
            ((numbers[one.shape], one) for one in noise.learned()), key=lambda pair: pair[0]
        )

    def _open(self) -> None:
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version not in range(_VERSION + 1):
            raise self._unreadable(f"its format is {version}, and {_VERSION} is known")
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = NORMAL")
        if version == 1:
            self._file.execute("ALTER TABLE pairs ADD COLUMN route TEXT NOT NULL DEFAULT ''")
        if version != _VERSION:
            self._file.executescript(_SCHEMA + _MADE)
        columns = {row[1] for row in self._file.execute("PRAGMA table_info(noise)")}
        if "looks" not in columns:  # made by version 2
            self._file.execute("ALTER TABLE noise ADD COLUMN looks TEXT NOT NULL DEFAULT ''")

    def _add(self, shape: Shape, seen: float, sides: Sequence[str]) -> None:
        row = self._row(shape, seen)
        if row is None:
            self.overlooked += 1
            return
        self._file.execute(
            "INSERT INTO pairs "
            "(shape, seen, request, primary_side, candidate_side, differences, route) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row, seen, *sides),
        )
        self._file.execute(
            "DELETE FROM pairs WHERE shape = ?1 "
            "AND id NOT IN (SELECT id FROM pairs WHERE shape = ?1 ORDER BY id LIMIT ?2) "
            "AND id NOT IN (SELECT id FROM pairs WHERE shape = ?1 ORDER BY id DESC LIMIT ?3)",
            (row, PAIRS_FIRST, PAIRS_LAST),
        )

    def _row(self, shape: Shape, seen: float) -> int | None:
        found = self._file.execute(
            "UPDATE shapes SET count = count + 1, last_seen = MAX(last_seen, ?) "
            "WHERE endpoint = ? AND field = ? AND kind = ? RETURNING id",
            (seen, shape.endpoint, shape.field, shape.kind),
        ).fetchone()
        if found is None:
            (count,) = self._file.execute("SELECT COUNT(*) FROM shapes").fetchone()
            if count >= SHAPES_MAX:
                return None
            found = self._file.execute(
                "INSERT INTO shapes (endpoint, field, kind, count, first_seen, last_seen) "
                "VALUES (?, ?, ?, 1, ?, ?) RETURNING id",
                (shape.endpoint, shape.field, shape.kind, seen, seen),
            ).fetchone()
        row: Any = found[0]
        return int(row)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise self._unreadable(str(error)) from error

    def _unreadable(self, why: str) -> DifferencesUnreadable:
        return DifferencesUnreadable(
            f"the differences in {self._path} cannot be read or written: {why}; nothing is kept; "
            "look at the file's owner, its disk, or move it away to begin anew"
        )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

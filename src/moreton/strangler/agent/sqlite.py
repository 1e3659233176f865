"""Keeps evidence in a file of SQLite, which all processes of an application share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from moreton.strangler.agent.core.effects import Effect, Kind
from moreton.strangler.agent.core.standing import SEEN_MIN, Standing, judge
from moreton.strangler.agent.errors import EffectsUnreadable
from moreton.strangler.agent.recording import explained

ENDPOINTS_MAX = 2_000
EFFECTS_PER_ENDPOINT_MAX = 40
RELEASES_MAX = 3
# A request waits for the file no longer: the evidence waits instead.
_BUSY_SECONDS = 0.5
_VERSION = 1
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS endpoints (
    release TEXT NOT NULL, name TEXT NOT NULL, seen INTEGER NOT NULL, wrote INTEGER NOT NULL,
    first_seen REAL NOT NULL, last_seen REAL NOT NULL, PRIMARY KEY (release, name)
);
CREATE TABLE IF NOT EXISTS effects (
    release TEXT NOT NULL, endpoint TEXT NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL,
    count INTEGER NOT NULL, harmless TEXT NOT NULL, example TEXT NOT NULL,
    first_seen REAL NOT NULL, last_seen REAL NOT NULL,
    PRIMARY KEY (release, endpoint, kind, what)
);
CREATE TABLE IF NOT EXISTS unwatched (module TEXT PRIMARY KEY, seen REAL NOT NULL);
PRAGMA user_version = {_VERSION};
"""


@dataclass(slots=True)
class Tally:
    """What is to be added to an endpoint's evidence; effects with count, example and why not."""

    seen: int = 0
    wrote: int = 0
    effects: dict[Effect, tuple[int, str, str]] = field(default_factory=dict)

    def add(self, effect: Effect, example: str, harmless: str) -> None:
        """*effect* once more."""
        count, kept, _ = self.effects.get(effect, (0, example, harmless))
        self.effects[effect] = (count + 1, kept, harmless)


@dataclass(frozen=True, slots=True)
class Seen:
    """One effect of an endpoint, of *count* requests; *harmless* says why it does not count."""

    effect: Effect
    count: int
    harmless: str
    example: str
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is known of an endpoint, a method and a route, in one release of the application."""

    name: str
    release: str
    seen: int
    wrote: int
    effects: Sequence[Seen]
    first_seen: datetime
    last_seen: datetime

    def standing(self, seen_min: int = SEEN_MIN) -> Standing:
        """What may be done with requests to it."""
        return judge(seen=self.seen, wrote=self.wrote, seen_min=seen_min)


class Effects:
    """The evidence in the file *path*; any number of processes add to it and look at it.

    Bounded: `ENDPOINTS_MAX` endpoints a release, of each `EFFECTS_PER_ENDPOINT_MAX` effects, and
    the `RELEASES_MAX` releases that were seen last. It is opened anew each time: it may be moved
    away, and processes may fork.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, release: str, tallies: Mapping[str, Tally], now: datetime) -> None:
        """What was seen since the last time, by endpoint."""
        moment = now.timestamp()
        with self._open() as file:
            for name, tally in tallies.items():
                if self._count(file, release, name, tally, moment):
                    self._add_effects(file, release, name, tally, moment)
            self._forget_releases(file)

    def known(self, release: str) -> dict[str, tuple[int, int]]:
        """How many requests to each endpoint of *release* were seen, and how many wrote."""
        with self._open() as file:
            rows = file.execute(
                "SELECT name, seen, wrote FROM endpoints WHERE release = ?", (release,)
            ).fetchall()
        return {name: (seen, wrote) for name, seen, wrote in rows}

    def endpoints(self, release: str | None = None) -> list[Endpoint]:
        """All endpoints of *release*, the one seen last if none is named; by name."""
        with self._open() as file:
            if release is None:
                row = file.execute(
                    "SELECT release FROM endpoints ORDER BY last_seen DESC, rowid DESC LIMIT 1"
                ).fetchone()
                release = str(row[0]) if row else ""
            found: dict[str, list[Seen]] = {}
            for name, kind, what, count, harmless, example, first, last in file.execute(
                "SELECT endpoint, kind, what, count, harmless, example, first_seen, last_seen "
                "FROM effects WHERE release = ? ORDER BY count DESC, kind, what",
                (release,),
            ):
                seen = Seen(
                    Effect(Kind(kind), what), count, harmless, example, _at(first), _at(last)
                )
                found.setdefault(name, []).append(seen)
            rows = file.execute(
                "SELECT name, seen, wrote, first_seen, last_seen FROM endpoints "
                "WHERE release = ? ORDER BY substr(name, instr(name, ' ')), name",
                (release,),
            ).fetchall()
        return [
            Endpoint(name, release, seen, wrote, found.get(name, []), _at(first), _at(last))
            for name, seen, wrote, first, last in rows
        ]

    def may_copy(self, endpoint: str, *, seen_min: int = SEEN_MIN) -> bool:
        """Whether requests to *endpoint* may be sent twice; not, if nobody knows it."""
        return any(
            one.name == endpoint and one.standing(seen_min) is Standing.SAFE
            for one in self.endpoints()
        )

    def forget(self, endpoint: str) -> bool:
        """Begin anew with *endpoint*, in all releases; whether there was one."""
        with self._open() as file:
            file.execute("DELETE FROM effects WHERE endpoint = ?", (endpoint,))
            return file.execute("DELETE FROM endpoints WHERE name = ?", (endpoint,)).rowcount > 0

    def keep_unwatched(self, modules: Sequence[str], now: datetime) -> None:
        """*modules* are loaded, and what they do is not seen."""
        with self._open() as file:
            file.executemany(
                "INSERT OR REPLACE INTO unwatched VALUES (?, ?)",
                [(module, now.timestamp()) for module in modules],
            )

    def unwatched(self) -> list[str]:
        """Modules of the application that could have effects which are not seen."""
        with self._open() as file:
            rows = file.execute("SELECT module FROM unwatched ORDER BY module").fetchall()
        return [str(row[0]) for row in rows]

    def _count(
        self, file: sqlite3.Connection, release: str, name: str, tally: Tally, now: float
    ) -> bool:
        changed = file.execute(
            "UPDATE endpoints SET seen = seen + ?, wrote = wrote + ?, "
            "last_seen = MAX(last_seen, ?) WHERE release = ? AND name = ?",
            (tally.seen, tally.wrote, now, release, name),
        ).rowcount
        if changed:
            return True
        (count,) = file.execute(
            "SELECT COUNT(*) FROM endpoints WHERE release = ?", (release,)
        ).fetchone()
        if count >= ENDPOINTS_MAX:
            return False
        file.execute(
            "INSERT INTO endpoints VALUES (?, ?, ?, ?, ?, ?)",
            (release, name, tally.seen, tally.wrote, now, now),
        )
        return True

    def _add_effects(
        self, file: sqlite3.Connection, release: str, name: str, tally: Tally, now: float
    ) -> None:
        (count,) = file.execute(
            "SELECT COUNT(*) FROM effects WHERE release = ? AND endpoint = ?", (release, name)
        ).fetchone()
        for effect, (times, example, harmless) in tally.effects.items():
            key = (release, name, effect.kind, effect.what)
            changed = file.execute(
                "UPDATE effects SET count = count + ?, harmless = ?, last_seen = MAX(last_seen, ?)"
                " WHERE release = ? AND endpoint = ? AND kind = ? AND what = ?",
                (times, harmless, now, *key),
            ).rowcount
            if not changed and count < EFFECTS_PER_ENDPOINT_MAX:
                count += 1
                file.execute(
                    "INSERT INTO effects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*key, times, harmless, example, now, now),
                )

    def _forget_releases(self, file: sqlite3.Connection) -> None:
        for table in ("endpoints", "effects"):
            file.execute(
                f"DELETE FROM {table} WHERE release NOT IN (SELECT release FROM endpoints "  # noqa: S608 - ours
                "GROUP BY release ORDER BY MAX(last_seen) DESC LIMIT ?)",
                (RELEASES_MAX,),
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The file, in one transaction that takes the lock at once."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with explained():
                opened = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
            with closing(opened) as file:
                (version,) = file.execute("PRAGMA user_version").fetchone()
                if version not in {0, _VERSION}:
                    raise self._unreadable(f"its format is {version}, and {_VERSION} is known")
                if version == 0:
                    file.execute("PRAGMA journal_mode = WAL")
                    file.executescript(_SCHEMA)
                file.execute("PRAGMA synchronous = NORMAL")
                file.execute("BEGIN IMMEDIATE")
                yield file
                file.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise self._unreadable(str(error)) from error

    def _unreadable(self, why: str) -> EffectsUnreadable:
        return EffectsUnreadable(
            f"the evidence in {self.path} cannot be read or written: {why}; no request is copied "
            "meanwhile; look at the file's owner, its disk, or move it away to begin anew"
        )


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

"""Noise as rows of a file of SQLite: what was learned, and what people said of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from moreton.strangler.compare.core.differences import Kind, Shape
from moreton.strangler.compare.core.noise.learning import Evidence, Noise, Verdict
from moreton.strangler.compare.core.noise.looks import looks_document, looks_from


def load_noise(file: sqlite3.Connection, noise: Noise) -> None:
    """Let *noise* go on from all rows."""
    asked = dict(file.execute("SELECT endpoint, count FROM asked").fetchall())
    rows = file.execute(
        "SELECT endpoint, field, kind, itself, candidate, both, proven, looks FROM noise"
    ).fetchall()
    evidence = {
        Shape(endpoint, field, Kind(kind)): Evidence(
            itself,
            candidate,
            both,
            bool(proven),
            looks_from(json.loads(looks), noise.marks) if looks else None,
        )
        for endpoint, field, kind, itself, candidate, both, proven, looks in rows
    }
    noise.restore(asked, evidence)
    load_verdicts(file, noise)


def load_verdicts(file: sqlite3.Connection, noise: Noise) -> None:
    """Let *noise* judge as the rows say."""
    noise.unsay()
    for endpoint, field, kind, said, because in file.execute(
        "SELECT endpoint, field, kind, said, because FROM noise WHERE said != ''"
    ).fetchall():
        noise.say(Shape(endpoint, field, Kind(kind)), Verdict(said), because)


def save_noise(file: sqlite3.Connection, noise: Noise) -> None:
    """Put what *noise* learned in rows; within a transaction."""
    asked, evidence = noise.kept()
    file.executemany("INSERT OR REPLACE INTO asked VALUES (?, ?)", list(asked.items()))
    file.executemany(
        "INSERT INTO noise (endpoint, field, kind, itself, candidate, both, proven) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (endpoint, field, kind) DO UPDATE SET "
        "itself = excluded.itself, candidate = excluded.candidate, both = excluded.both, "
        "proven = excluded.proven",
        [
            (*shape, one.itself, one.candidate, one.both, int(one.proven))
            for shape, one in evidence.items()
        ],
    )
    fresh = {
        shape: one.looks for shape, one in evidence.items() if one.looks and not one.looks.saved
    }
    file.executemany(
        "UPDATE noise SET looks = ? WHERE endpoint = ? AND field = ? AND kind = ?",
        [
            (json.dumps(looks_document(looks, noise.marks)), *shape)
            for shape, looks in fresh.items()
        ],
    )
    for looks in fresh.values():
        looks.saved = True


def say_verdict(
    file: sqlite3.Connection, number: int, verdict: Verdict | None, because: str
) -> Shape | None:
    """Have the row *number* judged so; its shape, if there is such a row."""
    row = file.execute(
        "UPDATE noise SET said = ?, because = ? WHERE id = ? RETURNING endpoint, field, kind",
        (verdict or "", because, number),
    ).fetchone()
    return None if row is None else Shape(row[0], row[1], Kind(row[2]))


def numbers_of(file: sqlite3.Connection) -> Mapping[Shape, int]:
    """The number of each shape."""
    rows = file.execute("SELECT endpoint, field, kind, id FROM noise").fetchall()
    return {Shape(endpoint, field, Kind(kind)): number for endpoint, field, kind, number in rows}

"""Where SQLite and PostgreSQL differ, in the little that the tables need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one database."""

    name: str
    number: str
    moment: str
    now: str
    later: str
    epoch: str
    is_postgres: bool

    def table(
        self, columns: Mapping[str, str], rows: Sequence[Sequence[object]]
    ) -> tuple[str, list[object]]:
        """*rows* as something to select *columns* (name, type) from, called `given`; its values."""
        names = list(columns)
        if self.is_postgres:
            marks = ", ".join(f"?::{kind}[]" for kind in columns.values())
            values: list[object] = [list(column) for column in zip(*rows, strict=True)]
            return f"unnest({marks}) AS given({', '.join(names)})", values or [[] for _ in names]
        fields = ", ".join(
            f"json_extract(listed.value, '$[{place}]') AS {name}"
            for place, name in enumerate(names)
        )
        text = json.dumps(rows, ensure_ascii=False)
        return f"(SELECT {fields} FROM json_each(?) AS listed ORDER BY listed.key) AS given", [text]


POSTGRES = Dialect(
    name="postgresql",
    number="bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    moment="timestamptz",
    now="clock_timestamp()",
    later="clock_timestamp() + make_interval(secs => ?)",
    epoch="extract(epoch from {})::double precision",
    is_postgres=True,
)
# AUTOINCREMENT: a number is not given again when the newest row was deleted.
SQLITE = Dialect(
    name="sqlite",
    number="INTEGER PRIMARY KEY AUTOINCREMENT",
    moment="REAL",
    now="((julianday('now') - 2440587.5) * 86400.0)",
    later="((julianday('now') - 2440587.5) * 86400.0 + ?)",
    epoch="{}",
    is_postgres=False,
)

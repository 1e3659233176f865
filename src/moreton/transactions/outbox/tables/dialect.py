"""Where SQLite and PostgreSQL differ, in the little that the tables need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# No attribute of an event has it, nor has JSON. One text per column takes a driver a tenth of the
# time that a list takes, whose every letter some of them quote.
_SEPARATOR = "\x1f"


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
            listed = zip(*rows, strict=True) if rows else [()] * len(names)
            arrays, values = zip(*map(_array, columns.values(), listed), strict=True)
            return f"unnest({', '.join(arrays)}) AS given({', '.join(names)})", list(values)
        fields = ", ".join(
            f"json_extract(listed.value, '$[{place}]') AS {name}"
            for place, name in enumerate(names)
        )
        text = json.dumps(rows, ensure_ascii=False)
        return f"(SELECT {fields} FROM json_each(?) AS listed ORDER BY listed.key) AS given", [text]

    def within(self, kind: str, values: Sequence[object]) -> tuple[str, list[object]]:
        """What says after a column that it is among *values* of *kind*; its values."""
        if self.is_postgres:
            # A join with a list, of whose length PostgreSQL knows nothing, may read a whole table.
            array, text = _array(kind, values)
            return f"= ANY ({array})", [text]
        source, given = self.table({"one": kind}, [(each,) for each in values])
        return f"IN (SELECT one FROM {source})", given


def _array(kind: str, values: Sequence[object]) -> tuple[str, str]:
    """An array of *kind* that is read from one text; each value has a separator before it."""
    text = "".join([f"{_SEPARATOR}{value}" for value in values])
    assert text.count(_SEPARATOR) == len(values), "a value has the separator"
    return f"(string_to_array(?, chr({ord(_SEPARATOR)})))[2:]::{kind}[]", text


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

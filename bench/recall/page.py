"""What the last `python -m bench recall` found, for the docs: `python -m bench.recall.page`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

KEPT = Path("build") / "recall.json"
PAGE = Path("docs") / "concepts" / "recall-figures.md"


def keep(figures: dict[str, Any]) -> None:
    """Write *figures* where this finds them."""
    KEPT.parent.mkdir(exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    KEPT.write_text(json.dumps({"day": day, **figures}, indent=1))


def page(kept: dict[str, Any]) -> str:
    """The figures, then every regression with what was found of it."""
    ours, ruled, naive = kept["ours"], kept["rules alone"], kept["nothing"]
    rows = kept["regressions"]
    figures = [
        (name, ours[name], ruled.get(name, ""), naive.get(name, ""))
        for name in ours
        if not name.startswith(("found: ", "through Envoy"))
    ]
    through = [
        (name.partition(": ")[2], ours[name]) for name in ours if name.startswith("through Envoy")
    ]
    kinds = sorted({row["kind"] for row in rows})
    by_kind = [
        (
            kind,
            sum(row["kind"] == kind for row in rows),
            sum(row["kind"] == kind and row["hit"] > 0 for row in rows),
        )
        for kind in kinds
    ]
    listed = [
        (
            row["kind"],
            f"{row['name']}{' †' if row['held_out'] else ''}",
            f"`{row['where']}`",
            f"{row['hit']} of {row['affected']}"
            if row["hit"]
            else f"**none** of {row['affected']}",
        )
        for row in sorted(rows, key=lambda row: (row["kind"], row["held_out"]))
    ]
    return "\n".join(
        [
            "# Regressions that a comparison finds\n",
            f"Measured {kept['day']} by `python -m bench recall`.\n",
            *_table(("", "learned", "the default rules alone", "nothing"), figures),
            "\nThrough Envoy and a collector:\n",
            *_table(("", ""), through),
            "\n## By kind\n",
            *_table(("kind", "seeded", "found"), by_kind),
            "\n## The regressions\n",
            "Of the answers that each changed, how many were told of; † was held out.\n",
            *_table(("kind", "what is wrong", "where", "told of"), listed),
            "",
        ]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(_cell(one) for one in line)} |" for line in lines]


def _cell(one: Any) -> str:
    return f"{one:,}" if isinstance(one, int | float) else str(one)


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(KEPT.read_text())))

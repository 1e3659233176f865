"""What a benchmark says, and how it is printed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

Figures = Mapping[str, float | int | str]


@dataclass(slots=True)
class Result:
    """One benchmark's figures. *ratio* > 1 means that ours is better."""

    bench: str
    unit: str
    ours: Figures
    peers: dict[str, Figures] = field(default_factory=dict)
    ratio: dict[str, float] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    plots: dict[str, str] = field(default_factory=dict)  # SVG, by the name of a file

    def as_line(self) -> str:
        """The one JSON line that ends a run with `--json`."""
        return json.dumps(
            {
                "bench": self.bench,
                "unit": self.unit,
                "ours": dict(self.ours),
                "peers": {name: dict(figures) for name, figures in self.peers.items()},
                "ratio": {name: round(value, 3) for name, value in self.ratio.items()},
                "checks": self.checks,
                "notes": self.notes,
            }
        )

    def show(self, console: Console) -> None:
        """The same as tables."""
        table = Table(title=f"{self.bench} ({self.unit})")
        names = list(dict.fromkeys([*self.ours, *(k for p in self.peers.values() for k in p)]))
        table.add_column("")
        table.add_column("moreton", justify="right")
        for peer in self.peers:
            table.add_column(peer, justify="right")
        for name in names:
            row = [_cell(self.ours.get(name))]
            row += [_cell(figures.get(name)) for figures in self.peers.values()]
            table.add_row(name, *row)
        console.print(table)
        for peer, value in self.ratio.items():
            console.print(f"  moreton / {peer}: {value:.3f}")
        for check, held in self.checks.items():
            console.print(f"  {'[green]holds[/]' if held else '[red]FAILS[/]'}  {check}")
        for note in self.notes:
            console.print(f"  {note}", highlight=False)


def _cell(value: float | str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.2f}" if value % 1 else f"{value:,.0f}"


def median(values: Sequence[float]) -> float:
    """The median; 0.0 of nothing."""
    return statistics.median(values) if values else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which *share* of *values* lie; 0.0 of nothing."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0

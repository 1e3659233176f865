"""What limits at the gateway cost, and how close to them what passes is: a module for each part.

A part has `run(quick=…, console=…)`, which returns a result of its own; they are shown as one.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from bench.gatewaylimits import asked, flood, local, quota_cost, quotas
from bench.report import Result

# Together under 60 s when quick.
PARTS: dict[str, Callable[..., Result]] = {
    "local": local.run,
    "flood": flood.run,
    "shared": quotas.run,
    "cost of shares": quota_cost.run,
    "asked": asked.run,
}


def run(*, quick: bool, console: Console) -> Result:
    """All parts, one after the other."""
    ours: dict[str, float | int | str] = {}
    all_parts = Result("gatewaylimits", "requests/s, shares and us as each row says", ours)
    for name, measure in PARTS.items():
        part = measure(quick=quick, console=console)
        ours.update({f"{name}: {row}": figure for row, figure in part.ours.items()})
        for peer, figures in part.peers.items():
            told = {f"{name}: {row}": figure for row, figure in figures.items()}
            all_parts.peers[peer] = {**all_parts.peers.get(peer, {}), **told}
        all_parts.ratio.update({f"{name}: {what}": value for what, value in part.ratio.items()})
        all_parts.checks.update({f"{name}: {what}": held for what, held in part.checks.items()})
        all_parts.notes.extend(f"{name}: {note}" for note in part.notes)
    return all_parts

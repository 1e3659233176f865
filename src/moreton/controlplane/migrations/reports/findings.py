"""What a node's comparer found on a route, and what was said not to count of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moreton.strangler.compare import Differences, Verdict
from moreton.strangler.compare.core.live import Live
from moreton.strangler.compare.errors import DifferencesUnreadable
from moreton.strangler.compare.undecided import told_undecided
from moreton.strangler.reporting import Accepted, Found

# A report is read by people.
SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class Findings:
    """Differences by shape, what is accepted, and a *note* on what is not told."""

    differences: tuple[Found, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    note: str = ""


def findings(file: Path, route: str, live: Live | None) -> Findings:
    """What *file* has of *route*; a file that is not there, or is unreadable, is no reason to fail.

    *live* is what moreton.yaml says of comparing the route.
    """
    rules = () if live is None else live.rules
    own = tuple(Accepted(*rule, "moreton.yaml") for rule in rules)
    if not file.exists():
        return Findings(accepted=own)
    try:
        with Differences(file) as kept:
            groups = kept.groups(route)
            accepted = (*own, *_accepted(kept))
            told = told_undecided(kept)
    except DifferencesUnreadable as error:
        return Findings(accepted=own, note=str(error))
    found = tuple(
        Found(
            *(each.shape.endpoint, each.shape.field, each.shape.kind.value, each.count),
            *(each.first_seen, each.last_seen, tuple(each.pairs)),
        )
        for each in groups[:SHOWN_MAX]
    )
    hidden = max(len(groups) - SHOWN_MAX, 0) + max(len(accepted) - SHOWN_MAX, 0)
    if hidden:
        told.append(f"{hidden} more are in {file.name}: moreton migrate diffs shows all")
    return Findings(found, accepted[:SHOWN_MAX], ". ".join(told))


def _accepted(kept: Differences) -> Iterator[Accepted]:
    for path, treatment, because in kept.accepted():
        yield Accepted(path, treatment, because, "moreton migrate diffs")
    said = {path for path, _, _ in kept.accepted()}
    for _, one in kept.learned():
        what = " ".join(one.shape)
        if one.verdict is Verdict.NOISE and what not in said:
            yield Accepted(what, "noise", one.because, "learned")

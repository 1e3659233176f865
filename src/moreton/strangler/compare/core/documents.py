"""What a collector is told to do, and what it tells, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.core.live import Live, SideEffects
from moreton.strangler.compare.core.questions import Rewriting

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Task:
    """One comparison as a collector does it: where both services answer now."""

    live: Live
    primary: Sequence[Place] = ()
    candidate: Sequence[Place] = ()
    rewriting: Rewriting = field(default_factory=Rewriting)


def task_document(task: Task) -> dict[str, Any]:
    """*task* as JSON has it."""
    live = task.live
    return {
        "live": {
            **{name: getattr(live, name) for name in _PLAIN},
            "side_effects": live.side_effects.value,
            "methods": sorted(live.methods),
            "timeout": live.timeout.total_seconds(),
            "apart": sorted(live.apart),
        },
        "primary": [list(place) for place in task.primary],
        "candidate": [list(place) for place in task.candidate],
        "rewriting": asdict(task.rewriting),
    }


def task_from(found: Any) -> Task:
    """What `task_document` made. Raises `KeyError`, `TypeError`, `ValueError` for anything else."""
    live = found["live"]
    plain = {name: live[name] for name in _PLAIN}
    return Task(
        Live(
            **{
                **plain,
                "rules": tuple((str(a), str(b), str(c)) for a, b, c in live["rules"]),
                "redact": tuple(live["redact"]),
            },
            side_effects=SideEffects(live["side_effects"]),
            methods=frozenset(live["methods"]),
            timeout=timedelta(seconds=live["timeout"]),
            apart=frozenset(live["apart"]),
        ),
        [(str(host), int(port)) for host, port in found["primary"]],
        [(str(host), int(port)) for host, port in found["candidate"]],
        Rewriting(**found["rewriting"]),
    )


def counts_document(counts: Mapping[str, Counts]) -> dict[str, dict[str, int]]:
    """*counts* by route as JSON has them."""
    return {route: asdict(one) for route, one in counts.items()}


def counts_from(found: Any) -> dict[str, Counts]:
    """What `counts_document` made. Raises `TypeError`, `AttributeError` for anything else."""
    return {str(route): Counts(**one) for route, one in found.items()}


_PLAIN = ("route", "primary", "candidate", "share", "ask_twice", "rules", "redact", "dry_run")

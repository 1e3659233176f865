"""What one process tells of its limits: how often each rule decided what, and about whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from moreton.ratelimit.seeing.core.heavy import Talker

RULES_MAX = 100
TALKERS_MAX = 50
KEY_CHARS_MAX = 128
COUNT_MAX = 2**53  # of JSON, whose numbers are doubles for some
OTHER = "other"


class Verdict(StrEnum):
    """What became of a request, or would have where a rule only counts."""

    ALLOW = "allow"
    DELAY = "delay"
    REJECT = "reject"
    DROP = "drop"


Decided = tuple[Verdict, str]  # the verdict, and the mode: enforce or shadow


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What *rule* decided, and who asked most: see `HeavyHitters.merge`.

    *degraded* of the decisions were made while the store of the limits could not be asked.
    """

    rule: str
    decisions: Mapping[Decided, int] = field(default_factory=dict)
    degraded: int = 0
    talkers: Sequence[Talker] = ()
    floor: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What *source*, a host and a process, tells of the last *seconds*."""

    source: str
    rules: Sequence[RuleReport]
    seconds: float = 0.0


def shown(text: str) -> str:
    """*text* as it may be shown: short, and without what a terminal would obey."""
    if len(text) > KEY_CHARS_MAX:
        text = f"{text[: KEY_CHARS_MAX - 1]}…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)


def to_document(report: Report) -> dict[str, Any]:
    """*report* as JSON has it."""
    return {
        "source": report.source,
        "seconds": report.seconds,
        "rules": [
            {
                "rule": one.rule,
                "decisions": [
                    {"verdict": str(verdict), "mode": mode, "count": count}
                    for (verdict, mode), count in one.decisions.items()
                ],
                "degraded": one.degraded,
                "talkers": [
                    {
                        "key": each.key,
                        "count": each.count,
                        "error": each.error,
                        "refused": each.refused,
                    }
                    for each in one.talkers
                ],
                "floor": one.floor,
                "total": one.total,
            }
            for one in report.rules
        ],
    }

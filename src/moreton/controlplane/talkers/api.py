"""Reports on rate limits, and what all of them together say, over HTTP."""

from __future__ import annotations

import http
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from moreton.ratelimit.rules import Mode
from moreton.ratelimit.seeing.core.board import Board, Standing
from moreton.ratelimit.seeing.core.heavy import Talker
from moreton.ratelimit.seeing.core.report import (
    COUNT_MAX,
    KEY_CHARS_MAX,
    RULES_MAX,
    TALKERS_MAX,
    Report,
    RuleReport,
    Verdict,
)

_SECONDS_MAX = 60.0
_MODES = (Mode.ENFORCE, Mode.SHADOW)
Count: TypeAlias = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Name: TypeAlias = Annotated[str, Field(max_length=KEY_CHARS_MAX)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DecisionsBody(_Body):
    """How often a rule decided one thing."""

    verdict: Verdict = Field(strict=False)
    mode: Mode = Field(strict=False)
    count: Count


class TalkerBody(_Body):
    """Who asked: at most *count*, at least *count* - *error*."""

    key: Name
    count: Count
    error: Count
    refused: Count


class RuleBody(_Body):
    """What one rule decided; no key that is not told counted more than *floor*."""

    rule: Name
    decisions: list[DecisionsBody] = Field(max_length=len(Verdict) * len(Mode))
    degraded: Count = 0
    talkers: list[TalkerBody] = Field(max_length=TALKERS_MAX)
    floor: Count
    total: Count


class ReportBody(_Body):
    """What a process tells of its limits."""

    source: Name
    seconds: Annotated[float, Field(ge=0, le=_SECONDS_MAX, strict=False)]
    rules: list[RuleBody] = Field(max_length=RULES_MAX + 1)  # and the others together


def talkers_router(board: Board, now: Callable[[], int]) -> APIRouter:
    """`/v1/limits/reports` and `/v1/limits/top`; *now* tells nanoseconds."""
    router = APIRouter(prefix="/v1/limits", tags=["limits"])

    @router.post("/reports", status_code=http.HTTPStatus.NO_CONTENT)
    async def report(body: ReportBody) -> None:
        """What the rules of one process decided since it told last, and about whom."""
        board.add(_report(body), now())

    @router.get("/top")
    async def top(
        rule: Annotated[str | None, Query(description="Only of this rule.")] = None,
        limit: Annotated[int, Query(ge=1, le=TALKERS_MAX)] = 10,
    ) -> dict[str, Any]:
        """What every rule decided in the last minute, and who asked most of it."""
        moment = now()
        seconds = board.seconds(moment)
        return {
            "seconds": round(seconds, 1),
            "sources": board.sources(moment),
            "rules": [
                _rule_document(one, seconds)
                for one in board.standings(moment, rule=rule, most=limit)
            ],
        }

    return router


def talker_metrics(board: Board) -> Iterator[tuple[str, str, Mapping[str, str], float]]:
    """What was reported since this node was started: name, help, labels, value."""
    text = "Decisions of rules on rates that services told, by verdict"
    for rule, (verdict, mode), count in board.totals():
        labels = {"rule": rule, "verdict": str(verdict), "mode": mode}
        yield "moreton_limit_decisions_total", text, labels, count
    text = "Decisions that services made while the store of their limits could not be asked"
    for rule, count in board.degraded().items():
        yield "moreton_limit_degraded_total", text, {"rule": rule}, count


def _report(body: ReportBody) -> Report:
    return Report(body.source, [_rule(one) for one in body.rules], body.seconds)


def _rule(body: RuleBody) -> RuleReport:
    return RuleReport(
        rule=body.rule,
        decisions={(one.verdict, str(one.mode)): one.count for one in body.decisions},
        degraded=body.degraded,
        talkers=[Talker(one.key, one.count, one.error, one.refused) for one in body.talkers],
        floor=body.floor,
        total=body.total,
    )


def _rule_document(one: Standing, seconds: float) -> dict[str, Any]:
    return {
        "rule": one.rule,
        "decisions": {
            str(mode): {str(verdict): one.decisions.get((verdict, mode), 0) for verdict in Verdict}
            for mode in _MODES
        },
        "degraded": one.degraded,
        "talkers": [
            {
                "key": each.key,
                "count": each.count,
                "error": each.error,
                "refused": each.refused,
                "per_second": round(each.count / seconds, 2),
            }
            for each in one.talkers
        ],
    }

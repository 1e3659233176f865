"""What a run found, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from moreton.cli.ring.settings import Wanted
from moreton.election.ring.core import theory
from moreton.election.ring.core.algorithms import Algorithm
from moreton.election.ring.core.frames import Decision
from moreton.election.ring.core.lap import Outcome

ADVISORY = (
    "advisory: no store stands behind this decision, and a divided ring would have two leaders; "
    "give --store with --processes to make it effective"
)


@dataclass(slots=True)
class Report:
    """Decisions in the order made; *outcome* of a run without faults."""

    wanted: Wanted
    decisions: list[Decision] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    outcome: Outcome | None = None

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        wanted = self.wanted
        last = self.decisions[-1]
        return {
            "algorithm": wanted.algorithm.value,
            "mode": "processes" if wanted.processes else "simulated",
            "seed": wanted.seed,
            "nodes": len(wanted.uids),
            "uids": [uid.priority for uid in wanted.uids],
            "leader": last.leader.priority,
            "advisory": last.is_advisory,
            "token": last.token,
            "decisions": [_decision(decision) for decision in self.decisions],
            "milliseconds": [round(each, 1) for each in self.milliseconds],
            "killed": self.killed,
            "election": None if self.outcome is None else _election(self.outcome),
            "theory": expected(wanted.algorithm, len(wanted.uids)),
        }

    def sentences(self) -> list[str]:
        """For people."""
        lines = []
        for number, decision in enumerate(self.decisions):
            token = "" if decision.token is None else f", token {decision.token}"
            time = f" after {self.milliseconds[number]:.0f} ms" if self.milliseconds else ""
            leads = f"epoch {decision.epoch}: {decision.leader.priority} leads{token}{time}"
            lines.append(leads)
            if number == 0 and self.killed:
                lines.append(f"killed: {', '.join(map(str, self.killed))}")
        if self.outcome is not None:
            election = _election(self.outcome)
            lines.append(
                f"{election['messages']:,} messages, {election['announcements']:,} of them to "
                f"announce; elected in round {election['rounds_to_elect']:,}, "
                f"over in round {election['rounds']:,}"
            )
            costs = expected(self.wanted.algorithm, len(self.wanted.uids))
            lines.append("theory: " + ", ".join(f"{k} {v:,.0f}" for k, v in costs.items()))
        if self.decisions[-1].is_advisory:
            lines.append(ADVISORY)
        return lines


def expected(algorithm: Algorithm, n: int) -> dict[str, float]:
    """The literature's message counts for *n* nodes, announcement included."""
    match algorithm:
        case Algorithm.LCR:
            average = theory.lcr_average(n)
            return {"best": theory.lcr_best(n), "average": average, "worst": theory.lcr_worst(n)}
        case Algorithm.CHANG_ROBERTS:
            best, worst = theory.chang_roberts_best(n), theory.chang_roberts_worst(n)
            return {"one begins, best": best, "one begins, worst": worst}
        case Algorithm.HIRSCHBERG_SINCLAIR:
            return {"bound": theory.hirschberg_sinclair_bound(n)}
        case Algorithm.BULLY:
            return {"best": theory.bully_best(n), "worst": theory.bully_worst(n)}


def _decision(decision: Decision) -> dict[str, Any]:
    leader = decision.leader.priority
    return {"epoch": decision.epoch, "leader": leader, "token": decision.token}


def _election(outcome: Outcome) -> dict[str, Any]:
    return {
        "messages": outcome.messages,
        "announcements": outcome.announcements,
        "rounds_to_elect": outcome.rounds_to_elect,
        "rounds": outcome.rounds,
        "agreed": outcome.agreed,
        "halted": outcome.halted,
    }

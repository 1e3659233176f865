"""`moreton history check`: whether a recorded history is linearizable."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moreton.cli.exits import Exit
from moreton.cli.history.errors import HistoryNotReadable
from moreton.cli.output import AsJson, print_json, print_line

if TYPE_CHECKING:
    from moreton.sim.linearizability import Call, Verdict
    from moreton.sim.linearizability.verdict import Violation

_STANDARD_INPUT = Path("-")


class ModelName(StrEnum):
    """What the history is of."""

    REGISTER = "register"
    CAS_REGISTER = "cas-register"
    STORE = "store"


def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines; - reads standard input.")
    ],
    *,
    model: Annotated[ModelName, typer.Option(help="What it is a history of.")] = (
        ModelName.CAS_REGISTER
    ),
    as_json: AsJson = False,
) -> None:
    """Judge whether a history of clients is linearizable.

    One event a line, in the order in which they happened:

      {"process": 0, "type": "invoke", "op": "write", "key": "x", "value": 1, "time": 0.1}
      {"process": 0, "type": "ok", "op": "write", "key": "x", "value": null, "time": 0.2}

    [bold]ok[/]: it took effect; [bold]fail[/]: it did not; [bold]info[/]: nobody knows.
    Exit status 1 when no order of the operations explains what clients saw.

    [bold]Examples[/]

      moreton history check run.jsonl

      moreton history check run.jsonl --model store --json
    """
    from moreton.sim.linearizability import (  # noqa: PLC0415 - help needs it not
        MODELS,
        check_history,
        pair_events,
        read_events,
    )

    calls = pair_events(read_events(_lines(file)))
    verdict = check_history(calls, MODELS[model.value]())
    if as_json:
        print_json(_document(verdict))
    else:
        _say(verdict)
    if not verdict.is_linearizable:
        raise typer.Exit(Exit.NO)


def _lines(file: Path) -> Sequence[bytes]:
    if file == _STANDARD_INPUT:
        return sys.stdin.buffer.read().splitlines()
    try:
        return file.read_bytes().splitlines()
    except OSError as error:
        raise HistoryNotReadable(path=str(file), reason=error.strerror or str(error)) from error


def _say(verdict: Verdict) -> None:
    unknown = f", {verdict.unknown} of unknown outcome" if verdict.unknown else ""
    parts = f" on {verdict.parts} keys" if verdict.parts > 1 else ""
    judged = f"{verdict.operations} operations{parts}{unknown}"
    if verdict.is_linearizable:
        print_line(f"linearizable: {judged}")
    else:
        print_line(f"not linearizable: {judged}")
        print_line(str(verdict))


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        "linearizable": verdict.is_linearizable,
        "model": verdict.model,
        "operations": verdict.operations,
        "unknown": verdict.unknown,
        "parts": verdict.parts,
        "tried": verdict.tried,
        "violations": [_violation(each) for each in verdict.violations],
    }


def _violation(violation: Violation) -> dict[str, Any]:
    return {
        "part": violation.part,
        "line": violation.stuck,
        "operation": _call(violation.unplaced),
        "meanwhile": [_call(call) for call in violation.meanwhile],
        "state": violation.state,
        "other_states": list(violation.others),
        "text": str(violation),
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "process": call.process,
        "op": call.op,
        "key": call.key,
        "argument": call.argument,
        "result": call.result,
        "lines": [call.began, call.ended],
    }

"""What a person decides about a saga; a running engine goes by it within a moment."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeAlias

import typer

from moreton.cli.leaving.asking import asker
from moreton.cli.output import AsJson, print_json, print_line
from moreton.cli.saga.log import DEFAULT_AT, At, SagaId, found, opened, plan_for
from moreton.kernel.ids import new_id as made_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import SystemClock

Note: TypeAlias = Annotated[str, typer.Option("--note", help="Why; kept in the saga's log.")]


def retry(
    saga_id: SagaId, *, note: Note = "", at: At = DEFAULT_AT, as_json: AsJson = False
) -> None:
    """Try again what is stuck, under the same key."""
    _decide("retry", saga_id, note, at, as_json=as_json)


def skip(saga_id: SagaId, *, note: Note = "", at: At = DEFAULT_AT, as_json: AsJson = False) -> None:
    """Count what is stuck as done, or as undone: it was done by hand, or need not be."""
    _decide("skip", saga_id, note, at, as_json=as_json)


def compensate(
    saga_id: SagaId, *, note: Note = "", at: At = DEFAULT_AT, as_json: AsJson = False
) -> None:
    """Let a saga go back, if it has not passed its point of no return."""
    _decide("compensate", saga_id, note, at, as_json=as_json)


def resume(
    saga_id: SagaId, *, note: Note = "", at: At = DEFAULT_AT, as_json: AsJson = False
) -> None:
    """Let a saga go on that was halted, after the cause is gone."""
    _decide("resume", saga_id, note, at, as_json=as_json)


def signal(
    saga_id: SagaId,
    name: Annotated[str, typer.Argument(help="The signal's name.")],
    value: Annotated[str, typer.Argument(help="Its value, as JSON.")] = "null",
    *,
    at: At = DEFAULT_AT,
    as_json: AsJson = False,
) -> None:
    """Tell a saga that something happened: a person approved, a parcel arrived."""
    from moreton.transactions.saga.deciding import tell  # noqa: PLC0415 - for help

    try:
        text = json.dumps(json.loads(value), separators=(",", ":"), ensure_ascii=False)
    except ValueError as error:
        raise typer.BadParameter(f"{value!r} is not JSON; write text as '\"text\"'") from error
    with opened(at) as ledger:
        row = found(ledger, saga_id)
        is_new = tell(ledger, row, name, text, plan=plan_for(ledger, row))
    document = {"id": saga_id, "signal": name, "new": is_new}
    _say(document, f"{saga_id}: {name} was told", as_json=as_json)


def fork(
    saga_id: SagaId,
    *,
    step: Annotated[str, typer.Option("--from", help="The first step that is done anew.")],
    new_id: Annotated[str, typer.Option("--id", help="The new saga's id.")] = "",
    at: At = DEFAULT_AT,
    as_json: AsJson = False,
) -> None:
    """Begin a saga that takes over what another did before a step, and goes on from there.

    Should both go back, what they share is undone twice, under the same key.
    """
    from moreton.transactions.saga.clock import LogClock  # noqa: PLC0415 - as above
    from moreton.transactions.saga.deciding import fork as begin_fork  # noqa: PLC0415 - as above

    found_id = new_id or f"{saga_id}-{made_id(SystemClock().wall(), system_rng())}"
    with opened(at) as ledger:
        row = found(ledger, saga_id)
        now = LogClock(ledger.now_nanos()).now()
        begin_fork(ledger, row, step, found_id, plan=plan_for(ledger, row), now=now)
    document = {"id": found_id, "of": saga_id, "from": step}
    _say(document, f"{found_id}: goes on from {step} of {saga_id}", as_json=as_json)


def _decide(decision: str, saga_id: str, note: str, at: str, *, as_json: bool) -> None:
    from moreton.transactions.saga.clock import LogClock  # noqa: PLC0415 - for help
    from moreton.transactions.saga.core.records import Decision  # noqa: PLC0415 - as above
    from moreton.transactions.saga.deciding import decide  # noqa: PLC0415 - as above

    with opened(at) as ledger:
        row = found(ledger, saga_id)
        decide(
            ledger, row, Decision(decision), ": ".join(filter(None, (asker(), note))),
            plan=plan_for(ledger, row), rng=system_rng(), now=LogClock(ledger.now_nanos()).now(),
        )  # fmt: skip
    sentence = f"{saga_id}: {decision} is written; the engine goes on by it"
    _say({"id": saga_id, "decided": decision}, sentence, as_json=as_json)


def _say(document: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        print_line(sentence)

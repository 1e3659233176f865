"""`moreton saga list` and `moreton saga show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moreton.cli.arguments import write_file
from moreton.cli.output import AsJson, print_json, print_line, print_rows
from moreton.cli.saga.log import DEFAULT_AT, At, SagaId, found, moment, opened, plan_for

if TYPE_CHECKING:
    from moreton.transactions.saga.drawing.story import Story
    from moreton.transactions.saga.ledgers.port import SagaRow

_STATUSES = "ready, running, queued, waiting, parked, completed or compensated"


def list_(
    *,
    status: Annotated[str, typer.Option("--status", help=f"Only those: {_STATUSES}.")] = "",
    name: Annotated[str, typer.Option("--name", help="Only sagas of that name.")] = "",
    queue: Annotated[str, typer.Option("--queue", help="Only those of that queue.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    at: At = DEFAULT_AT,
    as_json: AsJson = False,
) -> None:
    """List sagas, the newest first."""
    from moreton.transactions.saga.core.events import Status  # noqa: PLC0415 - for help

    if status and status not in set(Status):
        raise typer.BadParameter(f"{status!r} is no status; write {_STATUSES}")
    with opened(at) as ledger:
        rows = ledger.listed(
            status=Status(status) if status else None, name=name or None, most=limit,
            queue=queue or None,
        )  # fmt: skip
    if as_json:
        print_json([_document(row) for row in rows])
        return
    print_rows(
        ("ID", "SAGA", "STATUS", "QUEUE", "BEGUN", "WHY"),
        [
            (row.id, row.name, row.status, row.queue, moment(row.started), row.reason)
            for row in rows
        ],
        empty="no sagas",
    )


def show(
    saga_id: SagaId,
    *,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw it into this file.")] = None,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print its steps as a Mermaid flow chart.")
    ] = False,
    at: At = DEFAULT_AT,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to a saga and, when it is parked, what there is to decide."""
    from moreton.transactions.saga.drawing.mermaid import flow_chart  # noqa: PLC0415 - for help
    from moreton.transactions.saga.drawing.story import tell  # noqa: PLC0415 - as above
    from moreton.transactions.saga.drawing.svg import timeline  # noqa: PLC0415 - as above
    from moreton.transactions.saga.drawing.terminal import lines_of  # noqa: PLC0415 - as above

    with opened(at) as ledger:
        row = found(ledger, saga_id)
        plan = plan_for(ledger, row)
        story = tell(row, ledger.log(row.number), plan)
    if svg is not None:
        write_file("--svg", svg, timeline(story, plan))
    if as_json:
        print_json(_told(story))
    elif mermaid:
        print_line(flow_chart(plan, story.states).rstrip())
    else:
        for line in lines_of(story):
            print_line(line)


def _document(row: SagaRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "saga": row.name,
        "version": row.version,
        "status": row.status,
        "reason": row.reason,
        "queue": row.queue or None,
        "begun": moment(row.started),
        "ended": None if row.ended is None else moment(row.ended),
    }


def _told(story: Story) -> dict[str, Any]:
    return {
        **_document(story.row),
        "input": story.row.input,
        "steps": story.states,
        "log": [
            {"after_ms": line.after / 1000, "step": line.step, "mark": line.mark, "what": line.what}
            for line in story.lines
        ],
        "question": story.question,
        "options": {option.decision: option.meaning for option in story.options},
    }

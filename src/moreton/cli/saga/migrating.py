"""`moreton saga migrate`: sagas that run go on by another version of their definition."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from moreton.cli.exits import Exit
from moreton.cli.output import AsJson, print_json, print_line, print_rows
from moreton.cli.saga.log import DEFAULT_AT, At, opened


def migrate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the definition.")],
    *,
    old: Annotated[int, typer.Option("--from", min=1, help="The version that they run by.")],
    new: Annotated[int, typer.Option("--to", min=1, help="The version that they go on by.")],
    saga_id: Annotated[str, typer.Option("--id", help="Only this saga.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which would fit; write nothing.")
    ] = False,
    at: At = DEFAULT_AT,
    as_json: AsJson = False,
) -> None:
    """Let running sagas go on by another version, those whose log it could have written.

    The new version must be known: start an engine that has it, beside the old one, first. A saga
    that does not fit stays with its version, and is named with the reason; the exit code is 1 then.
    """
    from moreton.transactions.saga.clock import LogClock  # noqa: PLC0415 - for help
    from moreton.transactions.saga.core.plan import plan_of  # noqa: PLC0415 - as above
    from moreton.transactions.saga.errors import VersionUnknown  # noqa: PLC0415 - as above
    from moreton.transactions.saga.hosting.migrating import migrate as bring  # noqa: PLC0415 - as above

    with opened(at) as ledger:
        shapes = {one.version: one.shape for one in ledger.definitions() if one.name == name}
        for version in (old, new):
            if version not in shapes:
                raise VersionUnknown(saga=name, version=version, known=sorted(shapes))
        plans = [plan_of(json.loads(shapes[version])) for version in (old, new)]
        now = LogClock(ledger.now_nanos()).now()
        done = list(bring(ledger, *plans, now=now, dry_run=dry_run, saga_id=saga_id))
    stay = [one for one in done if one.why]
    fit = len(done) - len(stay)
    if as_json:
        brought = [one.id for one in done if not one.why]
        refused = {one.id: one.why for one in stay}
        print_json({"brought": brought, "stay": refused, "dry_run": dry_run})
    else:
        what = "would be brought" if dry_run else "were brought"
        print_line(f"{fit} of {len(done)} {what} from version {old} to {new}")
        if stay:
            print_rows(("ID", "STAYS BECAUSE"), [(one.id, one.why) for one in stay], empty="")
    if stay:
        raise typer.Exit(Exit.NO)

"""Looking at migrations: what would be done, how far they are, what happened."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.migrate.ordering import Migration, sentence
from moreton.cli.output import AsJson, print_json, print_line, print_rows
from moreton.kernel.errors import MoretonError
from moreton.kernel.quantities import format_duration

_LOOK_SECONDS = 0.5
_OPEN = frozenset({"running", "paused", "frozen"})
_UNREADABLE = "unreadable"


class MigrationTakenBack(MoretonError):
    """The migration that was watched was taken back."""

    code = "migration-taken-back"

    def __init__(self, *, name: str, reason: str) -> None:
        super().__init__(
            f'migration "{name}" was taken back ({reason}): every request goes to the old service; '
            f"mend the new one, then `moreton migrate resume {name}`"
        )


def plan(name: Migration, *, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show the stages and gates that moreton.yaml gives a migration; needs nothing running.

    [bold]Examples[/]

      moreton migrate plan catalogue
    """
    from moreton.controlplane.migrations.errors import UnknownMigration  # noqa: PLC0415 - below
    from moreton.controlplane.settings import load_settings  # noqa: PLC0415 - 0.2 s
    from moreton.strangler.rollout.core.documents import plan_document  # noqa: PLC0415 - as above

    plans = load_settings(config).migrations
    if name not in plans:
        raise UnknownMigration(name=name, known=plans)
    document = plan_document(plans[name])
    if as_json:
        print_json(document)
        return
    least = format_duration(timedelta(seconds=sum(each["hold"] for each in document["stages"])))
    print_line(
        f"{name}: {document['route']} from {document['baseline']} to {document['candidate']}, "
        f"in {least} at least, sure to {document['confidence'] * 100:g}%"
    )
    print_rows(["stage", "share", "at least", "requests", ""], _stage_rows(document), empty="")
    if (within := document["answer_within"]) is not None:
        shown = format_duration(timedelta(seconds=within))
        print_line(f"what {document['candidate']} does not begin to answer within {shown} failed")
    for gate in document["gates"]:
        kind = gate.pop("kind")
        print_line(f"gate {kind}: " + ", ".join(f"{k} {v}" for k, v in gate.items() if v != ""))


def status(
    name: str = typer.Argument("", help="The migration; none: all."),
    *,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show how far migrations are, what each gate says, and what is waited for.

    [bold]Examples[/]

      moreton migrate status

      moreton migrate status catalogue --json
    """
    api = Api.find(config)
    found = api.get(f"/v1/migrations/{name}") if name else api.get("/v1/migrations")
    if as_json:
        print_json(found)
        return
    if not name:
        print_rows(
            ["migration", "phase", "stage", "share"], map(_row, found), empty="no migrations"
        )
        for each in found:
            if each["phase"] == _UNREADABLE:
                print_line(each["trouble"])
        return
    print_line(sentence(found))
    if found["trouble"]:
        print_line(f"nothing can be seen now: {found['trouble']}")
    if found["differs"]:
        print_line("moreton.yaml says something else meanwhile, which counts from the next start")
    rows = [[each["gate"], each["outcome"], each["why"]] for each in found["gates"]]
    print_rows(["gate", "says", "why"], rows, empty="no gate is judged in this stage")
    for each in found["webhooks"]:
        print_line(_webhook_line(each))
    if found["report"]:
        print_line(f"report: {found['report']}")


def _row(found: dict[str, Any]) -> list[str]:
    if found["phase"] == _UNREADABLE:
        return [found["name"], _UNREADABLE, "", ""]
    return [found["name"], found["phase"], found["stage"]["name"], f"{found['share']:.4%}"]


def watch(name: Migration, *, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Print what happens to a migration until it is done; fails when it is taken back.

    [bold]Examples[/]

      moreton migrate watch catalogue
    """
    api, shown = Api.find(config), 0
    while True:
        found = api.get(f"/v1/migrations/{name}")
        for entry in api.get(f"/v1/migrations/{name}/history"):
            if entry["number"] > shown:
                shown = entry["number"]
                print_line(json.dumps(entry) if as_json else _entry_line(entry))
        if found["phase"] == "rolled-back":
            raise MigrationTakenBack(name=name, reason=found["reason"])
        if found["phase"] not in _OPEN:
            return
        time.sleep(_LOOK_SECONDS)


def history(name: Migration, *, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show what happened to a migration, and what the gates said then.

    [bold]Examples[/]

      moreton migrate history catalogue
    """
    found = Api.find(config).get(f"/v1/migrations/{name}/history")
    if as_json:
        print_json(found)
        return
    for entry in found:
        print_line(_entry_line(entry))
        for each in entry["verdicts"]:
            print_line(f"    {each['gate']}: {each['outcome']}, {each['why']}")
    if not found:
        print_line("nothing happened yet")


def _stage_rows(document: dict[str, Any]) -> list[list[str]]:
    words = (("manual", "somebody lets it go on"), ("no_return", "no return from here"))
    return [
        [
            each["name"],
            f"{each['share'] * 100:g}%",
            format_duration(timedelta(seconds=each["hold"])),
            str(each["requests"]),
            ", ".join(text for key, text in words if each[key]),
        ]
        for each in document["stages"]
    ]


def _entry_line(entry: dict[str, Any]) -> str:
    by = f" by {entry['by']}" if entry["by"] else ""
    because = f": {entry['because']}" if entry["because"] else ""
    share = f"{entry['share'] * 100:g}%"
    return f"{entry['when']} {entry['what']}{by}, stage {entry['stage']}, share {share}{because}"


def _webhook_line(each: dict[str, Any]) -> str:
    line = f"webhook {each['name']} ({each['to']}): {each['delivered']} delivered"
    if each["last"]:
        line += f", the last at {each['last']}"
    if each["given_up"]:
        line += f", {each['given_up']} given up"
    if each["waiting"]:
        line += f", {each['waiting']} waiting"
    if each["tries"]:
        line += f"; {each['tries']} tries failed, again at {each['again']}"
    return line + (f"; {each['error']}" if each["error"] else "")

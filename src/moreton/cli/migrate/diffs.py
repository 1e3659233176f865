"""`moreton migrate diffs`: in what a candidate's answers differ, and what counts of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from moreton.cli.arguments import write_file
from moreton.cli.client import DEFAULT_CONFIG, Config, differences_file
from moreton.cli.output import AsJson, print_json, print_line, print_rows

if TYPE_CHECKING:
    from moreton.strangler.compare import Differences
    from moreton.strangler.compare.core.live import Live
    from moreton.strangler.compare.sqlite import Pair

_SECONDS_MAX = 30.0
_VERDICTS = ("keep", "noise", "learned")


@dataclass(frozen=True, slots=True)
class _Out:
    """For people; a document is printed at the end, and nothing else beside it."""

    as_json: bool

    def say(self, text: str) -> None:
        if not self.as_json:
            print_line(text)

    def table(self, columns: list[str], rows: list[list[str]], empty: str) -> None:
        if not self.as_json:
            print_rows(columns, rows, empty=empty)


def diffs(  # noqa: PLR0913 - one option for each thing to do
    *,
    group: Annotated[bool, typer.Option("--group", help="By shape, the default.")] = True,
    show: Annotated[int | None, typer.Option(metavar="ID", help="Both sides of a pair.")] = None,
    accept: Annotated[
        str, typer.Option(metavar="PATH", help="Treat this path so from now on; see --as.")
    ] = "",
    treatment: Annotated[str, typer.Option("--as", help="How, with --accept.")] = "ignore",
    route: Annotated[
        str, typer.Option(metavar="NAME", help="Of this route alone, with --accept.")
    ] = "",
    because: Annotated[str, typer.Option(help="Why, with --accept and --judge.")] = "",
    learned: Annotated[bool, typer.Option("--learned", help="What is taken for noise.")] = False,
    judge: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Judge what was learned: see --verdict.")
    ] = None,
    verdict: Annotated[
        str, typer.Option(metavar="keep|noise|learned", help="So, with --judge.")
    ] = "noise",
    replay: Annotated[
        int | None, typer.Option(metavar="ID", help="Ask the candidate again, and compare.")
    ] = None,
    at: Annotated[
        str, typer.Option(metavar="URL", help="Where, with --replay; else as moreton.yaml says.")
    ] = "",
    export: Annotated[
        int | None, typer.Option(metavar="ID", help="A pytest case of a pair; see --to.")
    ] = None,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Where, with --export.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show in what a candidate's answers differ from the application's, and decide what counts.

    Reads this node's file of differences; needs nothing running.

    [bold]Examples[/]

      moreton migrate diffs

      moreton migrate diffs --show 17

      moreton migrate diffs --accept '$.items[*].updated_at' --because "is now"

      moreton migrate diffs --replay 17
    """
    from moreton.strangler.compare import Differences  # noqa: PLC0415 - help needs it not

    file = differences_file(config)
    if not file.exists():
        raise typer.BadParameter(
            f"{file} is not there: nothing was compared yet; `moreton compare status` says why"
        )
    out = _Out(as_json)
    with Differences(file) as differences:
        if accept:
            rule = {"path": accept, "treatment": treatment, "because": because, "route": route}
            found: Any = _accept(out, differences, rule)
        elif judge is not None:
            found = _judge(out, differences, judge, verdict, because)
        elif show is not None:
            found = _show(out, differences, show)
        elif replay is not None:
            found = _replay(out, differences, replay, at, config)
        elif export is not None:
            found = _export(out, differences, export, to)
        elif learned:
            found = _learned(out, differences)
        else:
            assert group, "the only way to show them all"
            found = _groups(out, differences)
    if as_json:
        print_json(found)


def _groups(out: _Out, differences: Differences) -> list[dict[str, Any]]:
    found = [
        {
            "endpoint": one.shape.endpoint,
            "field": one.shape.field,
            "kind": one.shape.kind.value,
            "count": one.count,
            "first_seen": one.first_seen.isoformat(timespec="seconds"),
            "last_seen": one.last_seen.isoformat(timespec="seconds"),
            "pairs": list(one.pairs),
        }
        for one in differences.groups()
    ]
    from moreton.strangler.compare.undecided import told_undecided  # noqa: PLC0415 - as above

    columns = ["endpoint", "field", "kind", "count", "first_seen", "last_seen", "pairs"]
    rows, more = (
        [[_cell(one[key]) for key in columns] for one in found],
        told_undecided(differences),
    )
    out.table(columns, rows, "no differences that surely count" if more else "no differences")
    for line in more:
        out.say(line)
    return found


def _show(out: _Out, differences: Differences, number: int) -> dict[str, Any]:
    pair = differences.pair(number)
    found = {**asdict(pair), "seen": pair.seen.isoformat()}
    for key in ("route", "endpoint", "seen", "request"):
        out.say(f"{key}: {found[key]}")
    rows = [[one.path, one.kind.value, one.primary, one.candidate] for one in pair.differences]
    out.table(["path", "kind", "primary", "candidate"], rows, "")
    out.say(f"primary: {pair.primary}")
    out.say(f"candidate: {pair.candidate}")
    return found


def _accept(out: _Out, differences: Differences, rule: dict[str, str]) -> dict[str, str]:
    try:
        differences.accept(**rule, now=datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    where = f" on {rule['route']}" if rule["route"] else ""
    out.say(f"{rule['path']}: {rule['treatment']}{where} from now on, because {rule['because']}")
    return rule


def _judge(
    out: _Out, differences: Differences, number: int, word: str, because: str
) -> dict[str, Any]:
    from moreton.strangler.compare import Verdict  # noqa: PLC0415 - as above

    if word not in _VERDICTS:
        raise typer.BadParameter(f"{word!r} is no verdict; write one of {', '.join(_VERDICTS)}")
    try:
        shape = differences.judge(number, None if word == "learned" else Verdict(word), because)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    out.say(f"{shape.endpoint} {shape.field} {shape.kind}: {word}")
    return {**shape._asdict(), "verdict": word}


def _learned(out: _Out, differences: Differences) -> list[dict[str, Any]]:
    found = [
        {
            "number": number,
            **one.shape._asdict(),
            "verdict": one.verdict.value,
            "asked": one.asked,
            **asdict(one.evidence),
            "because": one.because,
        }
        for number, one in differences.learned()
    ]
    columns = ["number", "endpoint", "field", "kind", "verdict", "because"]
    rows = [[_cell(one[key]) for key in columns] for one in found]
    out.table(columns, rows, "nothing was learned yet")
    return found


def _replay(
    out: _Out, differences: Differences, number: int, at: str, config: Path
) -> dict[str, Any]:
    from moreton.cli.migrate.replaying import left_of  # noqa: PLC0415 - as above
    from moreton.strangler.compare import (  # noqa: PLC0415 - as above
        DEFAULT_RULES,
        Redactor,
        Rule,
        Verdict,
    )
    from moreton.strangler.compare.core.questions import Question  # noqa: PLC0415 - as above
    from moreton.strangler.compare.serving.asking import Asker, NoAnswer  # noqa: PLC0415 - as above
    from moreton.strangler.compare.serving.keeping import mark_of  # noqa: PLC0415 - as above

    pair = differences.pair(number)
    _refuse_dry_run(pair, "asked")
    live, fixed = _told(config, pair.route)
    place = _place(at) if at else fixed
    if place is None:
        raise typer.BadParameter(
            f"moreton.yaml has no fixed address of the candidate of the route {pair.route!r}: "
            "not asked again; say --at http://HOST:PORT"
        )
    method, _, target = pair.request.partition(" ")
    headers = [("host", f"{place[0]}:{place[1]}"), ("x-moreton-copy", "candidate")]
    answer = Asker().ask(place, Question(method, target, headers), _SECONDS_MAX)
    if isinstance(answer, NoAnswer):
        raise typer.BadParameter(f"{place[0]}:{place[1]} gives no answer, {answer.why}")
    own = [Rule.parse(*one) for one in live.rules] if live else []
    rules = [*DEFAULT_RULES, *own, *differences.rules(pair.route)]
    redactor = Redactor(mark_of(differences_file(config)), live.redact if live else ())
    noise = {one.shape for _, one in differences.learned() if one.verdict is Verdict.NOISE}
    found = left_of(pair, answer, redactor, rules, noise=noise, now=datetime.now(UTC))
    if not found:
        out.say(f"{pair.request}: the same now")
    else:
        rows = [[one.path, one.kind.value, one.primary, one.candidate] for one in found]
        out.table(["path", "kind", "primary", "candidate"], rows, "")
    return {"request": pair.request, "differences": [asdict(one) for one in found]}


def _export(out: _Out, differences: Differences, number: int, to: Path | None) -> dict[str, Any]:
    from moreton.strangler.compare.exporting import as_pytest  # noqa: PLC0415 - as above

    pair = differences.pair(number)
    _refuse_dry_run(pair, "exported")
    text = as_pytest(pair)
    if to is not None:
        write_file("--to", to, text)
        out.say(f"{to}: a test of pair {number}")
    else:
        out.say(text)
    return {"pair": number, "file": None if to is None else str(to), "test": text}


def _refuse_dry_run(pair: Pair, done: str) -> None:
    """What was run dry writes: it is not to be asked by hand."""
    if pair.request.startswith("DRY-RUN "):
        raise typer.BadParameter(
            f"{pair.request} writes, and is not {done} by hand: wait for the next of its like"
        )


def _told(config: Path, route: str) -> tuple[Live | None, tuple[str, int] | None]:
    """What moreton.yaml says of comparing *route*, and where its candidate answers."""
    from moreton.config import ConfigRefused  # noqa: PLC0415 - 0.2 s
    from moreton.controlplane.settings import load_settings  # noqa: PLC0415 - as above

    try:
        settings = load_settings(config)
    except (ConfigRefused, OSError):
        return None, None
    live = settings.comparisons.get(route)
    service = settings.services.get(live.candidate) if live else None
    address = service.addresses[0] if service and service.addresses else None
    return live, None if address is None else (address.host, address.port)


def _place(at: str) -> tuple[str, int]:
    parts = urlsplit(at)
    if parts.scheme != "http" or not parts.hostname:
        raise typer.BadParameter(f"--at: {at!r} is no address; write one like http://127.0.0.1:80")
    return parts.hostname, parts.port or 80


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

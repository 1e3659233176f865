"""`moreton limits simulate`: an access log against proposed limits."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Config
from moreton.cli.exits import Exit
from moreton.cli.limits.asking import settings_of
from moreton.cli.output import AsJson, print_json, print_line, print_rows

if TYPE_CHECKING:
    from moreton.controlplane.settings import Settings
    from moreton.ratelimit.core.rules.values import Limits
    from moreton.ratelimit.replay import Entry, Outcome, Replay

_UNREADABLE_SHOWN = 3
_TOP_DEFAULT = 10
_TOLD_EVERY = 20_000
_ROUTED_REMEMBERED = 10_000


def simulate(
    log: Annotated[
        Path, typer.Argument(help="An access log: common, combined, JSON lines; .gz; - for stdin.")
    ],
    *,
    rule: Annotated[list[str] | None, typer.Option(help="Only this limit; repeatable.")] = None,
    top: Annotated[int, typer.Option(min=0, max=1000, help="How many keys to show.")] = (
        _TOP_DEFAULT
    ),
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Replay an access log against the limits of a file: who would have been limited.

    Limits in mode shadow are tried as if they acted. Everybody counts together, at the times of the
    log; nothing is sent. Exit status 1 when no line of the log could be read.

    [bold]Examples[/]

      moreton limits simulate access.log

      moreton limits simulate access.log.gz --config proposed.yaml --rule login --json
    """
    settings = settings_of(config)
    replay, unreadable, why = _replayed(settings, log, rule or [])
    document = _document(replay, unreadable, why, top)
    if as_json:
        print_json(document)
    else:
        _say(document)
    if not replay.requests:
        raise typer.Exit(Exit.NO)


def _replayed(settings: Settings, log: Path, rules: list[str]) -> tuple[Replay, int, list[str]]:
    from moreton.controlplane.limits.documents import teller_of  # noqa: PLC0415 - pydantic
    from moreton.ratelimit.replay import NotALogLine, Replay, read_line  # noqa: PLC0415

    limits = settings.limits
    unknown = [name for name in rules if name not in limits.rules]
    if unknown:
        known = ", ".join(limits.rules) or "none"
        raise typer.BadParameter(f"no limit is called {unknown[0]!r}; the limits are: {known}")
    if rules:
        limits = replace(limits, rules={name: limits.rules[name] for name in rules})
    if not limits.rules and not limits.clients.bans:
        raise typer.BadParameter("there is no limit to try; write one into the section `limits`")
    replay, route = Replay(limits, teller_of(limits)), _router(settings, limits)
    unreadable = 0
    why: list[str] = []
    with _lines(log) as lines:
        for number, line in enumerate(lines, 1):
            if number % _TOLD_EVERY == 0:
                _tell(number)
            if not line.strip():
                continue
            try:
                replay.add(route(read_line(line)))
            except NotALogLine as error:
                unreadable += 1
                if len(why) < _UNREADABLE_SHOWN:
                    why.append(f"line {number}: {error}")
    return replay, unreadable, why


def _tell(lines: int) -> None:
    """How far it is, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r{lines} lines", end="\r", file=sys.stderr, flush=True)  # noqa: T201 - progress


def _router(settings: Settings, limits: Limits) -> Callable[[Entry], Entry]:
    """What finds the route of an entry that does not say it, where a limit asks for it."""
    from functools import lru_cache  # noqa: PLC0415 - with the others

    from moreton.controlplane.limits.documents import needs_routes, routed  # noqa: PLC0415
    from moreton.ratelimit.core.rules.seen import Caller  # noqa: PLC0415 - as above

    if not any(needs_routes(rule) for rule in limits.rules.values()):
        return lambda entry: entry
    gateways = list(settings.gateways)
    gateway = gateways[0] if len(gateways) == 1 else ""

    @lru_cache(_ROUTED_REMEMBERED)
    def find(method: str, path: str, host: str) -> tuple[str, str]:
        headers = {"host": host} if host else {}
        found = routed(Caller(method, path, headers, ""), settings.routes.values())
        return found.route, found.service

    def route(entry: Entry) -> Entry:
        caller = entry.caller
        if caller.route:
            return entry
        try:
            name, service = find(caller.method, caller.path, caller.host)
        except ValueError:  # what is asked for is no path; the log has it all the same
            return entry
        known = Caller(
            caller.method,
            caller.path,
            caller.headers,
            caller.address,
            gateway=caller.gateway or gateway,
            service=caller.service or service,
            route=name,
        )
        return replace(entry, caller=known)

    return route


@contextmanager
def _lines(log: Path) -> Iterator[Iterator[str]]:
    """The lines of *log*, of which bytes that are no UTF-8 do not matter."""
    if str(log) == "-":
        yield iter(io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace"))
        return
    try:
        with log.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            yield iter(io.TextIOWrapper(stream, encoding="utf-8", errors="replace"))
    except (OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise typer.BadParameter(f"{log} cannot be read: {reason}") from error
    except EOFError as error:
        raise typer.BadParameter(f"{log} is cut off: {error}") from error


def _document(replay: Replay, unreadable: int, why: list[str], top: int) -> dict[str, Any]:
    return {
        "requests": replay.requests,
        "refused": replay.refused,
        "from": _moment(replay.first_nanos),
        "to": _moment(replay.last_nanos),
        "unreadable": unreadable,
        "unreadable_why": why,
        "out_of_order": replay.late,
        "skipped": replay.skipped,
        "answered": {str(status): n for status, n in sorted(replay.statuses.items())},
        "rules": [_rule(name, one, top) for name, one in replay.outcomes.items()],
    }


def _rule(name: str, one: Outcome, top: int) -> dict[str, Any]:
    return {
        "name": name,
        "matched": one.matched,
        "refused": one.refused,
        "delayed": one.delayed,
        "longest_wait_seconds": round(one.longest_wait_nanos / 1e9, 3),
        "keys": len(one.asked_by),
        "keys_refused": len(one.refused_by),
        "top": [
            {"key": key, "refused": refused, "asked": one.asked_by[key]}
            for key, refused in sorted(one.refused_by.items(), key=lambda x: (-x[1], x[0]))[:top]
        ],
    }


def _moment(nanos: int) -> str | None:
    return datetime.fromtimestamp(nanos / 1e9, UTC).isoformat() if nanos else None


def _say(found: dict[str, Any]) -> None:
    requests, refused = found["requests"], found["refused"]
    if requests:
        share = f"{refused / requests:.2%}"
        span = f"{found['from']} to {found['to']}"
        print_line(f"{requests} requests, {span}: {refused} would be refused ({share})")
    else:
        print_line("no request could be read: nothing was tried")
    if found["unreadable"]:
        print_line(f"{found['unreadable']} lines could not be read: {found['unreadable_why'][0]}")
    if found["out_of_order"]:
        print_line(f"{found['out_of_order']} lines are earlier than one before: taken for its time")
    for name, why in found["skipped"].items():
        print_line(f"not tried: {name}, {why}")
    if found["answered"]:
        told = ", ".join(f"{n} with {status}" for status, n in found["answered"].items())
        print_line(f"those that would be refused were answered: {told}")
    headings = ["limit / who", "requests", "refused", "delayed", "of keys"]
    rows = []
    for one in found["rules"]:
        keys = f"{one['keys_refused']} of {one['keys']}"
        rows.append(
            [one["name"], str(one["matched"]), str(one["refused"]), str(one["delayed"]), keys]
        )
        rows += [
            [f"  {each['key'] or '(everyone)'}", str(each["asked"]), str(each["refused"]), "", ""]
            for each in one["top"]
        ]
    print_rows(headings, rows, empty="no limit matched a request")

"""`moreton status`: everything at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.output import AsJson, joined, print_json, print_line, print_rows

_Sagas = Annotated[
    str, typer.Option("--sagas", envvar="MORETON_SAGAS", help="A log of sagas to look at, too.")
]
_Decisions = Annotated[
    str,
    typer.Option("--decisions", envvar="MORETON_DECISIONS", help="A log of two-phase commits."),
]
_Participants = Annotated[
    list[str] | None,
    typer.Option(
        "--participant",
        envvar="MORETON_PARTICIPANTS",
        metavar="NAME=URL",
        help="A database of theirs; one for each, in the variable with spaces between them.",
    ),
]


def status(
    *,
    config: Config = DEFAULT_CONFIG,
    sagas: _Sagas = "",
    decisions: _Decisions = "",
    participant: _Participants = None,
    as_json: AsJson = False,
) -> None:
    """Show gateways, proxies, and every object that is not in force, with its place and reason.

    With logs of transactions also sagas that are parked, and what is prepared and in doubt.

    [bold]Examples[/]

      moreton status

      moreton status --json
    """
    found = Api.find(config).get("/v1/status")
    if sagas or decisions:
        # Only who has such logs loads what reads them.
        from moreton.cli.looking.doubts import doubts  # noqa: PLC0415

        found["transactions"] = doubts(sagas, decisions, participant or [])
    if as_json:
        print_json(found)
        return
    envoy = found["envoy"]
    print_line(f"control plane {found['version']}, pid {found['pid']}, {found['config']}")
    for line in _nodes(found["node"]):
        print_line(line)
    print_line(f"envoy {envoy['version']}, pid {envoy['pid']}, {_state(envoy)}")
    for gateway in found["gateways"]:
        print_line(f"gateway {gateway['name']}: {_listeners(gateway)}; {gateway['status']['text']}")
    for proxy in found["proxies"]:
        counts = f"{proxy['acks']} acknowledged, {proxy['nacks']} refused"
        print_line(f"proxy {proxy['node']}: {counts}")
    if not found["proxies"]:
        print_line("no proxy is connected")
    for program in found["programs"]:
        print_line(f"program {program['service']}: {_program(program)}")
    print_line(_counts(found["objects"]))
    _say_wrongs(found)
    if "transactions" in found:
        from moreton.cli.looking.doubts import said  # noqa: PLC0415 - as above

        for line in said(found["transactions"]):
            print_line(line)


def _state(envoy: dict[str, Any]) -> str:
    if not envoy["ready"]:
        return f"not ready ({envoy['last_exit'] or 'starting'})"
    count = envoy["restarts"]
    again = f", started again {count} time{'s' * (count != 1)}, the last one ended: "
    return "ready" + (f"{again}{envoy['last_exit']}" if count else "")


def _nodes(node: dict[str, Any]) -> Iterator[str]:
    if not node["shared"]:
        return
    yield f"node {node['name']}, leader {node['leader'] or 'none at present'}"
    for each in node["nodes"]:
        behind = node["revision"] - each["applied"]
        how_far = "up to date" if behind <= 0 else f"in force up to revision {each['applied']}"
        refused = f", {len(each['rejected'])} refused" if each["rejected"] else ""
        where = each["api"] or "its API does not answer yet"
        yield f"  {each['name']}: {where}, pid {each['pid']} on {each['host']}, {how_far}{refused}"


def _say_wrongs(found: dict[str, Any]) -> None:
    for service, counts in found.get("protected", {}).items():
        print_line(
            f"protected: {counts['kept']} of {counts['instances']} instances of {service} fell at "
            f"once and are kept in use; see `moreton instances {service}`"
        )
    for name, why in found["troubles"].items():
        print_line(f"trouble: {name}: {why}")
    for fault in found["faults"]:
        print_line(f"edit refused: {fault}")
    for name, why in found["unreadable"].items():
        print_line(f"unreadable in the store: {name}: {why}")
    if found["attention"]:
        print_line("")
        rows = [
            [f"{one['kind']} {one['name']}", one["status"]["text"], one["source"]["where"] or "API"]
            for one in found["attention"]
        ]
        print_rows(["object", "status", "defined at"], rows, empty="")


def _program(program: dict[str, Any]) -> str:
    state = "ready" if program["ready"] else "not ready"
    return f"pid {program['pid']}, port {program['port']}, {state}, {program['restarts']} restarts"


def _listeners(gateway: dict[str, Any]) -> str:
    return joined(
        f"{'https' if each['tls'] else 'http'}://{each['address']}" for each in gateway["listeners"]
    )


def _counts(objects: dict[str, dict[str, int]]) -> str:
    words = []
    for kind, states in objects.items():
        total = sum(states.values())
        others = [f"{count} {state}" for state, count in states.items() if state != "applied"]
        all_of = f"{total} {kind}{'' if total == 1 else 's'}"
        words.append(f"{all_of} ({', '.join(others)})" if others else all_of)
    return ", ".join(words)

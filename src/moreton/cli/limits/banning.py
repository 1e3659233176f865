"""`moreton limits bans`, `ban`, `unban` and `reset`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config
from moreton.cli.output import AsJson, print_json, print_line, print_rows

Who = Annotated[
    str,
    typer.Argument(
        help="192.0.2.7, 192.0.2.0/24, api-key=NAME, country=XX, asn=64500, tier=NAME, "
        "header:NAME=VALUE or jwt:CLAIM=VALUE."
    ),
]


def bans(*, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List who is banned: by moreton.yaml, and by `moreton limits ban`."""
    found = Api.find(config).get("/v1/limits/bans")
    if as_json:
        print_json(found)
        return
    headings = ["who", "until", "kept by", "reason", "by"]
    print_rows(headings, map(_row, found), empty="nobody is banned")


def ban(
    who: Who,
    *,
    duration: Annotated[
        str | None, typer.Option("--for", help="30m, 12h, 7d; without it for good.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="2027-01-31T18:00:00Z.")] = None,
    reason: Annotated[str, typer.Option(help="For those who look at it.")] = "",
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Let nobody of WHO pass, until the ban ends by itself or is taken back.

    It is kept in the store, for all nodes. Gateways keep out addresses and headers at once,
    services that follow the control plane anyone within seconds.

    [bold]Examples[/]

      moreton limits ban 192.0.2.7 --for 1h --reason "password guessing"

      moreton limits ban api-key=acme
    """
    body: dict[str, Any] = {"who": who, "reason": reason}
    body |= {"for": duration} if duration is not None else {}
    body |= {"until": until} if until is not None else {}
    found = Api.find(config).call("POST", "/v1/limits/bans", body)
    if as_json:
        print_json(found)
    else:
        end = f"until {found['until']}" if found["until"] else "for good"
        alone = "" if "gateway" in found["at"] else ", at services alone: no gateway can tell"
        print_line(f"{found['who']} is banned {end}{alone}")


def unban(who: Who, *, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Take a ban back. One of moreton.yaml is taken back there."""
    Api.find(config).call("DELETE", "/v1/limits/bans", query={"who": who})
    if as_json:
        print_json({"who": who, "banned": False})
    else:
        print_line(f"{who} passes again")


def reset(
    rule: Annotated[str, typer.Argument(help="The limit's name.")],
    key: Annotated[str, typer.Argument(help="As `moreton limits explain` says it.")] = "",
    *,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Let a key begin anew with a limit, in the services that follow the control plane.

    A limit that gateways keep is refused: there no key can begin anew by itself.

    [bold]Examples[/]

      moreton limits reset login 192.0.2.7
    """
    found = Api.find(config).call("POST", "/v1/limits/resets", {"rule": rule, "key": key})
    if as_json:
        print_json(found)
    else:
        print_line(
            f'"{found["key"] or "everyone"}" begins anew with {rule}, in services within seconds'
        )


def _row(one: dict[str, Any]) -> list[str]:
    source = {"file": "moreton.yaml", "api": "the API"}[one["source"]]
    return [one["who"], one["until"] or "for good", ", ".join(one["at"]), one["reason"], source]

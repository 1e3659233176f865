"""`moreton limits explain`: which limits a request is under."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moreton.cli.arguments import check_address, header_pair
from moreton.cli.client import DEFAULT_CONFIG, Config
from moreton.cli.exits import Exit
from moreton.cli.limits.asking import running, settings_of
from moreton.cli.output import AsJson, print_json, print_line


def explain(
    method: Annotated[str, typer.Argument(help="GET, POST, …")],
    url: Annotated[str, typer.Argument(help="http://host/path?query, or /path alone.")],
    *,
    address: Annotated[
        str, typer.Option("--address", "-a", help="Of who connects: the client, or your proxy.")
    ] = "",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="`name: value`; repeatable.")
    ] = None,
    service: Annotated[
        str, typer.Option(help="Which service it reaches; without it, as the routes say.")
    ] = "",
    gateway: Annotated[str, typer.Option(help="Which gateway it comes to.")] = "",
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask moreton.yaml, not the running control plane.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Say who a request is taken for, which limits it is under, and why not the others.

    Nothing is sent, and nothing is counted. Exit status 1 when it is banned.

    [bold]Examples[/]

      moreton limits explain POST /login --address 192.0.2.7

      moreton limits explain GET /api/orders -H "x-api-key: …" -a 10.0.0.1 -H "x-forwarded-for: …"
    """
    check_address("--address", address)
    api = running(config, offline=offline)
    if api is None:
        found = _read(config, method, url, header or [], (address, gateway, service))
    else:
        found = api.get(
            "/v1/limits/explain",
            method=method,
            url=url,
            header=[": ".join(header_pair(one)) for one in header or []],
            address=address,
            gateway=gateway,
            service=service,
        )
    if as_json:
        print_json(found)
    else:
        _say(found)
    if found["banned"] is not None or any(_bans(one) for one in found["rules"]):
        raise typer.Exit(Exit.NO)


def _read(
    config: Any, method: str, url: str, headers: list[str], place: tuple[str, str, str]
) -> Any:
    from moreton.controlplane.limits.documents import explanation, utc_now  # noqa: PLC0415
    from moreton.ratelimit.core.rules.seen import Caller  # noqa: PLC0415 - as above

    settings = settings_of(config)
    address, gateway, service = place
    caller = Caller(method, url, dict(map(header_pair, headers)), address, gateway, service)
    try:
        return explanation(settings, settings.routes.values(), (), caller, utc_now())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _bans(one: dict[str, Any]) -> bool:
    return bool(one["applies"]) and one["limit"].startswith("0:") and one["mode"] == "enforce"


def _say(found: dict[str, Any]) -> None:
    client = found["client"]
    told = [f"address {client['key'] or '(none)'}"]
    told += [f"API key {client['api_key']}"] if client["api_key"] else []
    told += [f"tier {client['tier']}"] if client["tier"] else []
    told += [f"country {client['country']}"] if client["country"] != "ZZ" else []
    told += [f"AS{client['asn']}"] if client["asn"] else []
    told += [f"{name}={value}" for name, value in client["claims"].items()]
    seen = found.get("at_gateway", client)["key"]  # an earlier control plane says it not
    told += [f"at gateways address {seen}"] if seen != client["key"] else []
    where = f", route {found['route']}" if found["route"] else ", no route takes it"
    print_line(f"{found['method']} {found['path']} by {', '.join(told)}{where}")
    banned = found["banned"]
    if banned is not None:
        until = f" until {banned['until']}" if banned["until"] else ""
        why = f": {banned['reason']}" if banned["reason"] else ""
        print_line(f"  banned as {banned['who']}{until}{why}")
    for one in found["rules"]:
        if one["applies"]:
            tier = f" of tier {one['tier']}" if one["tier"] else ""
            mode = "" if one["mode"] == "enforce" else f", {one['mode']}"
            key = f'key "{one["key"]}"' if one["key"] else "all together"
            what = f"{one['limit']}{tier}, {key}, then {one['verdict']}"
            print_line(f"  {one['name']}: {what} ({one['at']}{mode})")
    for one in found["rules"]:
        if not one["applies"]:
            print_line(f"  not {one['name']}: {one['why_not']}")

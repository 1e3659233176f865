"""`moreton limits` without a control plane: the file is asked."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from moreton.cli.exits import Exit
from moreton.cli.main import application
from moreton.controlplane.errors import NotRunning

pytestmark = pytest.mark.slow

FILE = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}]}}
services: {shop: {addresses: [127.0.0.1:8000]}}
routes: {all: {path: /*, to: shop}, api: {path: /api/*, to: shop}}
clients:
  tiers: {free: {}, paid: {}}
  tier_from: "header:x-tier"
  bans: [{who: 198.51.100.0/24, reason: scans}]
limits:
  login:
    at: service
    match: {paths: /login, methods: POST}
    by: address
    limit: 2/min
    tiers: {paid: 9/min}
  api: {match: {routes: api}, by: route, limit: [5/s, 1000/day], mode: shadow, scope: exact}
  old: {match: {paths: /old/*}, limit: 0}
"""
BEHIND = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}], trusted_proxies: 1}}
services: {shop: {addresses: [127.0.0.1:8000]}}
routes: {all: {path: /*, to: shop}}
clients: {bans: [198.51.100.9]}
limits:
  each: {by: address, limit: 9/s}
  own: {at: service, by: address, limit: 9/s}
"""
LINE = '{} - - [26/Nov/2026:12:00:{:02} +0000] "POST /login HTTP/1.1" 200 1'


@pytest.fixture(autouse=True)
def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MORETON_API", raising=False)
    Path("moreton.yaml").write_text(FILE)


def call(*arguments: str) -> Result:
    words = ("limits", *arguments)
    return CliRunner().invoke(application(words), words)


@pytest.mark.parametrize(
    "name", ["list", "top", "explain", "simulate", "bans", "ban", "unban", "reset"]
)
def test_every_command_offers_json(name: str) -> None:
    assert "--json" in call(name, "--help").output


def test_address_that_is_none_is_refused() -> None:
    result = call("explain", "POST", "/login", "-a", "192.0.2.700")
    assert result.exit_code == Exit.USAGE
    assert "is not an IP address" in " ".join(result.output.split())


def test_check_counts_one_as_one() -> None:
    words = ["check"]
    said = CliRunner().invoke(application(words), words).output
    assert "1 gateway, 1 service, 2 routes, 3 limits" in " ".join(said.split())


def test_list_shows_what_holds() -> None:
    found = json.loads(call("list", "--json").output)
    assert [(one["name"], one["limit"], one["match"], one["mode"]) for one in found] == [
        ("login", "2/m", "POST /login", "enforce"),
        ("api", "5/s and 1000/day", "route api", "shadow"),
        ("old", "0: a ban", "/old/*", "enforce"),
    ]
    assert "moreton.yaml:11:3" in call("list").output


def test_explain_says_who_which_and_why_not() -> None:
    result = call("explain", "post", "/login", "-a", "192.0.2.7", "-H", "x-tier: paid")
    assert result.exit_code == Exit.OK
    assert result.output.splitlines() == [
        "POST /login by address 192.0.2.7, tier paid, route all",
        '  login: 9/m of tier paid, key "192.0.2.7", then reject (service)',
        "  not api: route all is not in routes",
        "  not old: path /login is not in paths",
    ]
    api = json.loads(call("explain", "GET", "http://x.example/api/1?a=b", "--json").output)
    assert [one["name"] for one in api["rules"] if one["applies"]] == ["api"]
    assert (api["route"], api["service"], api["rules"][1]["key"]) == ("api", "shop", "api")


def test_explain_takes_who_is_behind_a_proxy_for_whom_the_gateway_takes_him() -> None:
    Path("moreton.yaml").write_text(BEHIND)
    words = ("explain", "GET", "/", "-a", "10.0.0.1", "-H", "x-forwarded-for: 6.6.6.6, 192.0.2.7")
    assert call(*words).output.splitlines() == [
        "GET / by address 10.0.0.1, at gateways address 192.0.2.7, route all",
        '  each: 9/s, key "192.0.2.7", then reject (gateway)',
        '  own: 9/s, key "10.0.0.1", then reject (service)',
    ]
    banned = json.loads(call(*words[:-1], "x-forwarded-for: 198.51.100.9", "--json").output)
    assert banned["banned"]["who"] == "198.51.100.9"
    assert call("explain", "GET", "/", "-a", "198.51.100.9").exit_code == Exit.NO
    Path("moreton.yaml").write_text(BEHIND.replace(", trusted_proxies: 1", ""))
    forged = json.loads(call(*words, "--json").output)
    assert forged["at_gateway"] == {"address": "10.0.0.1", "key": "10.0.0.1"}


def test_explain_says_which_gateways_there_are() -> None:
    Path("moreton.yaml").write_text(BEHIND)
    told = call("explain", "GET", "/", "--gateway", "nope")
    assert told.exit_code == Exit.USAGE
    assert "no gateway is called 'nope'" in " ".join(told.output.split())
    second = "}, bare: {listeners: [{address: 127.0.0.1:8081}]}}\nservices"
    Path("moreton.yaml").write_text(BEHIND.replace("}}\nservices", second))
    told = call("explain", "GET", "/", "-H", "x-forwarded-for: 192.0.2.7")
    assert told.exit_code == Exit.USAGE
    assert "say it: public, bare" in " ".join(told.output.replace("│", "").split())
    assert call("explain", "GET", "/").exit_code == Exit.OK


def test_explain_fails_for_who_is_banned() -> None:
    banned = call("explain", "GET", "/", "-a", "198.51.100.9")
    assert banned.exit_code == Exit.NO
    assert "banned as 198.51.100.0/24: scans" in banned.output
    assert call("explain", "GET", "/old/1").exit_code == Exit.NO
    assert call("explain", "GET", "nowhere").exit_code == Exit.USAGE
    assert call("explain", "GET", "/", "-H", "nothing").exit_code == Exit.USAGE


def test_simulate_says_who_would_have_been_limited() -> None:
    lines = [LINE.format("192.0.2.7", n) for n in range(10)] + ["?", ""]
    with gzip.open("access.log.gz", "wt") as log:
        log.write("\n".join(lines))
    found = json.loads(call("simulate", "access.log.gz", "--json").output)
    assert (found["requests"], found["refused"], found["unreadable"]) == (10, 8, 1)
    assert found["unreadable_why"][0].startswith("line 11: ")
    login = next(one for one in found["rules"] if one["name"] == "login")
    assert login["top"] == [{"key": "192.0.2.7", "refused": 8, "asked": 10}]
    shown = call("simulate", "access.log.gz", "--rule", "login").output
    assert "10 requests" in shown
    assert "8 would be refused (80.00%)" in shown


def test_simulate_finds_the_route_of_a_request() -> None:
    text = LINE.replace("/login", "/api/orders?a=1")
    lines = [text.format("192.0.2.7", 0) for _ in range(9)]
    Path("access.log").write_text("\n".join(lines))
    found = json.loads(call("simulate", "access.log", "--rule", "api", "--json").output)
    assert found["rules"][0]["top"] == [{"key": "api", "refused": 4, "asked": 9}]


def test_simulate_says_what_is_wrong_with_a_log() -> None:
    assert "No such file" in call("simulate", "nothing.log").output
    Path("empty.log").write_text("")
    empty = call("simulate", "empty.log")
    assert empty.exit_code == Exit.NO
    assert empty.output.startswith("no request could be read")
    Path("cut.log").write_bytes(gzip.compress(LINE.format("192.0.2.7", 0).encode() * 99)[:-20])
    assert call("simulate", "cut.log").exit_code == Exit.USAGE
    spoilt = bytearray(gzip.compress("".join(map(str, range(9999))).encode()))
    spoilt[2000:2100] = bytes(100)
    Path("spoilt.log").write_bytes(spoilt)
    told = call("simulate", "spoilt.log")
    assert told.exit_code == Exit.USAGE, told.exception
    assert "spoilt.log cannot be read" in told.output
    assert call("simulate", "empty.log", "--rule", "nothing").exit_code == Exit.USAGE


def test_what_needs_a_control_plane_says_so() -> None:
    Path("moreton.yaml").unlink()  # with it, one that may begin is waited for
    for words in (["ban", "192.0.2.7"], ["bans"], ["unban", "192.0.2.7"], ["top"], ["reset", "a"]):
        assert isinstance(call(*words).exception, NotRunning), words

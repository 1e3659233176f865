"""Lines of logs are read as they are written, and replayed on their own time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moreton.ratelimit.config import load_limits
from moreton.ratelimit.core.rules.seen import Teller
from moreton.ratelimit.replay import LINE_CHARS_MAX, NotALogLine, Replay, read_line

NOON = 1_795_694_400 * 10**9  # 2026-11-26T12:00:00Z
COMMON = '192.0.2.7 - frank [26/Nov/2026:12:00:00 +0000] "GET /a/b?c=1 HTTP/1.1" 200 2326'
COMBINED = COMMON + ' "https://shop.example/" "Mozilla/5.0 (\\"quoted\\")"'


def test_the_common_and_the_combined_format() -> None:
    one = read_line(COMMON)
    assert (one.nanos, one.status) == (NOON, 200)
    assert (one.caller.method, one.caller.path, one.caller.address) == ("GET", "/a/b", "192.0.2.7")
    assert one.caller.headers == {}
    two = read_line(COMBINED + ' "203.0.113.1"\n')  # as many add the forwarded addresses
    assert two.caller.headers["user-agent"] == 'Mozilla/5.0 ("quoted")'
    assert read_line(COMMON.replace("+0000", "+0100")).nanos == NOON - 3600 * 10**9
    odd = read_line('2001:db8::1 - - [26/Nov/2026:12:00:00 +0000] "\\x16\\x03" 400 -')
    assert (odd.caller.method, odd.caller.path) == ("-", "/")


@pytest.mark.parametrize(
    "line",
    [
        # Of a Moreton gateway, nginx with escape=json, Caddy, and others.
        {"time": "2026-11-26T12:00:00.000Z", "method": "GET", "path": "/a/b?c", "status": 200,
         "client": "192.0.2.7", "host": "shop.example"},
        {"time_iso8601": "2026-11-26T12:00:00+00:00", "request": "GET /a/b HTTP/1.1",
         "status": "200", "remote_addr": "192.0.2.7", "host": "shop.example"},
        {"ts": NOON / 1e9, "status": 200, "request": {"remote_ip": "192.0.2.7", "method": "GET",
         "uri": "/a/b", "host": "shop.example", "headers": {"X-A": ["1", "2"]}}},
        {"@timestamp": NOON // 10**6, "verb": "get", "url": "http://shop.example/a/b?d",
         "response_code": 200, "ip": "192.0.2.7", "host": "shop.example"},
    ],
    ids=["moreton", "nginx", "caddy", "milliseconds"],
)  # fmt: skip
def test_json_lines_of_several_servers(line: dict[str, object]) -> None:
    one = read_line(json.dumps(line))
    caller = one.caller
    assert (one.nanos, one.status) == (NOON, 200)
    assert (caller.method, caller.path, caller.address, caller.host) == (
        ("GET", "/a/b", "192.0.2.7", "shop.example")
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nothing of the kind", "neither JSON nor"),
        ('{"a": 1', "not JSON"),
        ("[1]", "neither JSON nor"),
        ('{"time": 1}', "no address"),
        ('{"client": "192.0.2.7"}', "no time"),
        ('{"client": "192.0.2.7", "time": "noon"}', "not a time"),
        (COMMON.replace("Nov", "Nob"), "not a time"),
        ("x" * (LINE_CHARS_MAX + 1), "longer than"),
    ],
)
def test_what_is_no_line_of_a_log_says_why(line: str, why: str) -> None:
    with pytest.raises(NotALogLine, match=why):
        read_line(line)


def replayed(folder: Path, text: str, *lines: str) -> Replay:
    (folder / "moreton.yaml").write_text(text)
    limits = load_limits(folder / "moreton.yaml")
    replay = Replay(limits, Teller(limits.clients))
    for line in lines:
        replay.add(read_line(line))
    return replay


def at(second: int, path: str = "/login", status: int = 200, address: str = "192.0.2.7") -> str:
    clock = f"12:{second // 60:02}:{second % 60:02}"
    return f'{address} - - [26/Nov/2026:{clock} +0000] "POST {path} HTTP/1.1" {status} 1'


def test_a_flood_is_found_and_the_time_is_that_of_the_log(tmp_path: Path) -> None:
    text = "limits: {login: {match: {paths: /login}, by: address, limit: 3/min}}"
    flood = [at(second) for second in range(30)]
    quiet = [at(20 * n, address="192.0.2.8") for n in range(10)]
    replay = replayed(tmp_path, text, *sorted(flood + quiet, key=lambda line: line.split("[")[1]))
    outcome = replay.outcomes["login"]
    assert (outcome.matched, outcome.refused) == (40, 26)  # 3 at once, and one every 20 s
    assert outcome.refused_by == {"192.0.2.7": 26}
    assert (replay.requests, replay.refused, replay.late) == (40, 26, 0)


def test_only_failures_are_charged_and_shadows_are_tried_as_if_they_acted(tmp_path: Path) -> None:
    text = """
limits:
  failures: {mode: shadow, by: address, limit: 2/h, cost: {answers: 401}}
  off: {mode: off, limit: 0}
"""
    lines = [at(n, status=200) for n in range(5)] + [at(n, status=401) for n in range(10, 15)]
    replay = replayed(tmp_path, text, *lines)
    assert replay.outcomes["failures"].refused == 3
    assert "off" not in replay.outcomes
    assert replay.statuses == {401: 3}


def test_what_a_log_cannot_tell_is_named(tmp_path: Path) -> None:
    text = """
limits:
  work: {limit: 20 at once}
  doors: {count: connections, verdict: drop, limit: 5/s}
  health: {limit: {admission: {}}}
clients: {bans: [192.0.2.7]}
"""
    replay = replayed(tmp_path, text, at(1), at(0))
    assert replay.skipped.keys() == {"work", "doors", "health"}
    assert replay.outcomes["bans"].refused == 2
    assert replay.late == 1


def test_who_is_refused_by_one_limit_is_charged_by_no_other(tmp_path: Path) -> None:
    text = """
limits:
  all: {limit: 10/h}
  each: {by: address, limit: 1/h}
"""
    replay = replayed(tmp_path, text, *[at(n) for n in range(30)], at(31, address="192.0.2.9"))
    assert replay.outcomes["each"].refused == 29
    assert replay.outcomes["all"].refused == 0

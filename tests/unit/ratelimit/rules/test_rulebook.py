"""The rules of a file around requests: who is who, which rule holds, and what it does."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from moreton.config import ConfigRefused
from moreton.ratelimit.config.words import ban_of
from moreton.ratelimit.core.rules.seen import Caller
from moreton.ratelimit.rulebook import Rulebook, follow_file
from moreton.ratelimit.servers.guard import Guard, Passage
from support.manual_clock import ManualClock
from support.mmdb import write_mmdb

MONDAY_NOON = 1_700_481_600  # 2023-11-20T12:00:00Z


class Shop:
    """A service under the rules of a file that can be edited."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "moreton.yaml"
        self.clock = ManualClock(MONDAY_NOON * 10**9)
        self.book: Rulebook
        self.guard: Guard

    def under(self, text: str, service: str = "shop") -> Shop:
        self.file.write_text(text)
        self.book = follow_file(
            self.file,
            service=service,
            every=timedelta(seconds=1),
            background=False,
            clock=self.clock,
        )
        self.guard = Guard([self.book])
        return self

    def edit(self, text: str) -> None:
        self.file.write_text(text)
        # An edit of the same size within the file system's resolution would not be seen.
        stat = self.file.stat()
        os.utime(self.file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
        self.clock.advance(1)

    def enter(
        self, path: str = "/", address: str = "203.0.113.9", method: str = "GET", **headers: str
    ) -> Passage:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.guard.enter(Caller(method, path, named, address))

    def passes(self, path: str = "/", address: str = "203.0.113.9", **headers: str) -> bool:
        return self.enter(path, address, **headers).refusal is None

    def count(self, path: str = "/", address: str = "203.0.113.9", **headers: str) -> int:
        """How many of 20 pass."""
        return sum(self.passes(path, address, **headers) for _ in range(20))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


LOGIN = """
limits:
  login:
    at: service
    match: {paths: /login}
    by: address
    limit: 3/min
clients: {trusted_proxies: 10.0.0.0/8}
"""


def test_a_forged_forwarded_for_changes_nothing(shop: Shop) -> None:
    shop.under(LOGIN)
    # A client that connects itself writes whom it likes.
    forged = [shop.passes("/login", x_forwarded_for=f"198.51.100.{n}") for n in range(20)]
    assert sum(forged) == 3
    # Behind a proxy it may write before what the proxy wrote.
    behind = [
        shop.passes("/login", "10.0.0.1", x_forwarded_for=f"198.51.100.{n}, 192.0.2.44")
        for n in range(20)
    ]
    assert sum(behind) == 3
    assert shop.passes("/login", "10.0.0.1", x_forwarded_for="192.0.2.45")


def test_a_ban_is_not_escaped_by_a_port_or_a_mapped_address(shop: Shop) -> None:
    shop.under("clients: {trusted_proxies: 10.0.0.0/8, bans: [192.0.2.0/24]}")
    for written in ("192.0.2.7", "192.0.2.7:4711", "::ffff:192.0.2.7", " 192.0.2.7"):
        assert not shop.passes("/", "10.0.0.1", x_forwarded_for=written), written
    assert shop.passes("/", "10.0.0.1", x_forwarded_for="192.0.3.7")


def test_a_mapped_network_is_that_of_version_4(shop: Shop) -> None:
    assert ban_of("::ffff:192.0.2.7").who == "192.0.2.7"
    assert ban_of("::fffe:0:0/95").who == "::fffe:0:0/95"
    shop.under("clients: {trusted_proxies: '::ffff:10.0.0.0/104', bans: ['::ffff:192.0.2.0/120']}")
    assert not shop.passes("/", "10.0.0.1", x_forwarded_for="192.0.2.7")
    assert shop.passes("/", "10.0.0.1", x_forwarded_for="192.0.3.7")


def test_a_proxy_over_a_unix_socket_is_trusted_where_the_file_names_it(shop: Shop) -> None:
    shop.under("clients: {trusted_proxies: [10.0.0.0/8, unix], bans: [192.0.2.7]}")
    assert not shop.passes("/", "", x_forwarded_for="192.0.2.7")
    shop.edit("clients: {trusted_proxies: 10.0.0.0/8, bans: [192.0.2.7]}")
    assert shop.passes("/", "", x_forwarded_for="192.0.2.7")


def test_only_what_matches_counts(shop: Shop) -> None:
    shop.under(LOGIN)
    assert (shop.count("/other"), shop.count("/login"), shop.count("/login/x")) == (20, 3, 20)


TIERS = """
limits:
  api:
    at: service
    by: api-key
    limit: 2/min
    tiers: {paid: 5/min, ci: unlimited, bad: 0}
clients:
  api_keys:
    keys:
      gil: {key: g, tier: gold}
      pia: {key: p, tier: paid}
      bob: {key: b, tier: bad}
      old: {key: o}
  tiers:
    free: {}
    paid: {aliases: pro}
    gold: {within: paid}
    bad: {}
    ci: {addresses: 10.8.0.0/16}
  tier_from: [api-key, "header:x-plan"]
  unknown_tier: free
"""


def test_a_tier_has_the_limit_of_the_nearest_that_says_one(shop: Shop) -> None:
    shop.under(TIERS)
    assert shop.count(x_api_key="g") == 5  # gold is within paid
    assert shop.count(x_api_key="p") == 5
    assert shop.count(x_api_key="o") == 2  # no tier of its own: the fallback
    assert shop.count(x_api_key="o", x_plan="pro") == 5  # told by a header, by another name
    assert shop.count(address="10.8.1.1") == 20
    assert shop.count(x_api_key="nobody's") == 2  # unknown keys count by address …
    assert shop.count(x_api_key="nobody's, either") == 0  # … so that a new one helps nobody


def test_a_limit_of_nothing_is_a_ban_and_says_so(shop: Shop) -> None:
    shop.under(TIERS)
    refusal = shop.enter(x_api_key="b").refusal
    assert refusal is not None
    assert (refusal.status, json.loads(refusal.body)["code"]) == (403, "banned")
    assert refusal.detail == "banned"


PLACES = """
limits:
  abroad: {at: service, match: {countries: [FR, ZZ]}, by: country, limit: 2/min}
  host: {at: service, match: {asns: AS64500}, limit: 1/min}
clients: {geoip: {files: [countries.mmdb, systems.mmdb]}}
"""


def test_countries_and_systems_are_told_by_files(shop: Shop, tmp_path: Path) -> None:
    write_mmdb(
        tmp_path / "countries.mmdb",
        {
            "192.0.2.0/24": {"country": {"iso_code": "FR"}},
            "198.51.100.0/24": {"country": {"iso_code": "DE"}},
        },
    )
    write_mmdb(tmp_path / "systems.mmdb", {"198.51.100.0/25": {"autonomous_system_number": 64500}})
    shop.under(PLACES)
    assert shop.count(address="192.0.2.1") == 2
    assert shop.count(address="198.51.100.200") == 20
    assert shop.count(address="198.51.100.1") == 1
    assert shop.count(address="203.0.113.1") == 2  # unknown: the fallback ZZ
    assert shop.count(address="2001:db8::1") == 0  # a file of IPv4 does not know it, either


def test_a_geoip_file_that_is_none_is_refused(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "countries.mmdb").write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigRefused, match="not in the MaxMind format") as caught:
        shop.under(PLACES)
    assert "there is no" in str(caught.value)
    assert all(fault.where is not None for fault in caught.value.faults)


TOKENS = """
limits:
  tenant: {at: service, by: "jwt:sub", missing: skip, limit: 2/min}
clients: {jwt: {keys: keys.json, audience: shop}}
"""
SECRET = "secret-secret-secret-secret-1234"
KEY = {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ", "alg": "HS256"}


def test_tokens_are_believed_when_their_signature_is_verified(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [KEY]}))
    shop.under(TOKENS)

    def token(secret: str = SECRET, **claims: Any) -> str:
        return "Bearer " + jwt.encode({"sub": "ada", "aud": "shop", **claims}, secret, "HS256")

    assert shop.count(authorization=token()) == 2
    assert shop.count(authorization=token("other-secret-other-secret-other-12")) == 20
    assert shop.count(authorization=token(aud="elsewhere")) == 20
    assert shop.count(authorization=token(exp=1)) == 20
    unsigned = jwt.encode({"sub": "ada", "aud": "shop"}, "", "none")
    assert shop.count(authorization=f"Bearer {unsigned}") == 20
    assert shop.count(authorization="Bearer a.b.c") == 20


def test_hours_are_those_of_a_place_and_of_the_evening_before(shop: Shop) -> None:
    shop.under("""
limits:
  night:
    at: service
    match: {hours: "22:00-06:00", days: sun}
    zone: America/New_York
    limit: 1/h
""")
    start = datetime(2023, 11, 20, 12, tzinfo=UTC)  # Monday, seven in the morning there

    def passes(moment: datetime) -> bool:
        shop.clock.nanos = int(moment.timestamp()) * 10**9
        return shop.count() > 1

    assert passes(start)
    assert not passes(datetime(2023, 11, 20, 10, 30, tzinfo=UTC))  # Monday, half past five
    assert not passes(datetime(2023, 11, 20, 4, tzinfo=UTC))  # Sunday, eleven in the evening
    assert passes(datetime(2023, 11, 19, 10, 30, tzinfo=UTC))  # Sunday morning: of Saturday


def test_only_failed_logins_count_and_answers_say_their_cost(shop: Shop) -> None:
    shop.under("""
limits:
  failures: {at: service, by: address, limit: 3/h, cost: {answers: [401, 403]}}
  units: {at: service, limit: 10/h, cost: {answer_header: x-units, max: 6, default: 0}}
""")
    for status in (200, 200, 200, 200, 401, 401):
        passage = shop.enter()
        shop.guard.leave(passage, status)
    passage = shop.enter()
    shop.guard.leave(passage, 200, {"x-units": "4"}.get)
    assert shop.passes()
    shop.guard.leave(shop.enter(), 200, {"x-units": "9999"}.get)  # 6 at most: all are used
    refusal = shop.enter().refusal
    assert refusal is not None
    assert refusal.decision.refused_by == "units"


def test_a_quota_begins_anew_with_the_day_there(shop: Shop) -> None:
    shop.under("limits: {daily: {at: service, by: address, limit: 2/day, zone: Asia/Tokyo}}")
    shop.clock.nanos = int(datetime(2023, 11, 20, 14, 59, tzinfo=UTC).timestamp()) * 10**9
    assert shop.count() == 2
    shop.clock.advance(60)  # midnight in Tokyo
    assert shop.count() == 2


def test_an_edit_holds_at_once_and_what_stays_the_same_goes_on(shop: Shop) -> None:
    shop.under(LOGIN)
    assert shop.count("/login") == 3
    shop.edit(LOGIN + "  # nothing new\n")
    assert shop.count("/login") == 0  # its count goes on
    shop.edit(LOGIN.replace("3/min", "7/min"))
    assert shop.count("/login") == 7
    shop.edit("limits: {}")
    assert shop.count("/login") == 20


def test_an_edit_is_read_while_requests_go_on(shop: Shop) -> None:
    shop.file.write_text("limits: {}")
    shop.guard = Guard([follow_file(shop.file, every=timedelta(seconds=1), clock=shop.clock)])
    shop.edit(LOGIN)
    until = time.monotonic() + 30
    while shop.passes("/login"):
        assert time.monotonic() < until
        shop.clock.advance(1)


def test_a_bad_edit_leaves_what_held(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.under(LOGIN)
    shop.edit("limits: {login: {limit: 3 per minute}}")
    assert shop.count("/login") == 3
    shop.clock.advance(1.5)
    assert not shop.passes("/login", "203.0.113.9")
    assert caplog.text.count("is not how a rate is written") == 1  # told once
    shop.file.unlink()
    shop.clock.advance(1.5)
    assert shop.count("/login", "203.0.113.77") == 3


def test_bans_beside_the_file_end_by_themselves(shop: Shop) -> None:
    shop.under("limits: {}")
    until = datetime.fromtimestamp(MONDAY_NOON + 60, UTC)
    shop.book.replace(shop.book.limits, [ban_of("203.0.113.9", until, "a flood")])
    refusal = shop.enter().refusal
    assert refusal is not None
    assert "banned until 2023-11-20T12:01:00Z" in json.loads(refusal.body)["detail"]
    assert b"a flood" not in refusal.body  # the reason is for the operators
    shop.clock.advance(60)
    assert shop.passes()


def test_who_is_reset_begins_anew(shop: Shop) -> None:
    shop.under(LOGIN)
    assert shop.count("/login") == 3
    assert shop.book.reset("login", "203.0.113.9")
    assert shop.count("/login") == 3
    assert not shop.book.reset("nobody", "203.0.113.9")


def test_rules_of_another_service_and_of_gateways_do_not_count(shop: Shop) -> None:
    text = """
services: {shop: {addresses: [127.0.0.1:1]}, pay: {addresses: [127.0.0.1:2]}}
limits:
  a: {at: service, match: {services: pay}, limit: 1/h}
  b: {limit: 1/h}
"""
    assert shop.under(text).count() == 20
    assert shop.under(text, "pay").count() == 1


def test_a_long_header_makes_a_short_key_of_its_own(shop: Shop) -> None:
    shop.under('limits: {a: {at: service, by: ["header:x-a", "header:x-b"], limit: 1/h}}')
    assert shop.passes(x_a="x" * 9000 + "1", x_b="1")
    assert shop.passes(x_a="x" * 9000 + "2", x_b="1")
    assert not shop.passes(x_a="x" * 9000 + "1", x_b="1")
    # What a client writes into one part is never taken for two.
    assert shop.passes(x_a="1|2", x_b="3")
    assert shop.passes(x_a="1", x_b="2|3")

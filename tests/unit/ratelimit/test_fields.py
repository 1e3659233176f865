"""Limits are told in the words of the drafts, and what others tell is understood or ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.ratelimit import CalendarWindow, Concurrency, FixedWindow, Gcra, LocalLimiter
from moreton.ratelimit.core.addresses import client_address, key_of, trusted_proxies
from moreton.ratelimit.core.fields import FieldStyle, Told, fields_of, read_fields
from support.manual_clock import ManualClock

NOW = 1_700_000_000.0


def test_all_limits_are_told_with_an_answer_and_the_refusing_one_with_a_refusal() -> None:
    limiter = LocalLimiter(
        Gcra("100/min", name="burst"),
        CalendarWindow(1000, "day", name="daily"),
        Concurrency(9, name='at "once"'),
        clock=ManualClock(),
    )
    assert fields_of(limiter.decide("ada", 5), FieldStyle.DRAFT_10) == [
        (
            "ratelimit-policy",
            (
                r'"burst";q=100;w=60, "daily";q=1000;w=86400, '
                r'"at \"once\"";q=9;qu="concurrent-requests"'
            ),
        ),
        ("ratelimit", r'"burst";r=95;t=3, "daily";r=995;t=6400, "at \"once\"";r=4;t=60'),
    ]
    refused = limiter.decide("ada", 9)
    assert fields_of(refused, FieldStyle.DRAFT_10) == [
        ("ratelimit-policy", r'"at \"once\"";q=9;qu="concurrent-requests"'),
        ("ratelimit", r'"at \"once\"";r=4;t=60'),
        ("retry-after", "60"),
    ]


@pytest.mark.parametrize(
    ("style", "fields"),
    [
        (
            FieldStyle.DRAFT_03,
            {"ratelimit-limit": "9, 9;w=60", "ratelimit-remaining": "8", "ratelimit-reset": "40"},
        ),
        (
            FieldStyle.LEGACY,
            {"x-ratelimit-limit": "9", "x-ratelimit-remaining": "8", "x-ratelimit-reset": "40"},
        ),
        (FieldStyle.OFF, {}),
    ],
)
def test_other_styles_tell_of_the_tightest_limit(style: FieldStyle, fields: dict[str, str]) -> None:
    limiter = LocalLimiter(FixedWindow("9/min"), FixedWindow("90/h"), clock=ManualClock())
    assert dict(fields_of(limiter.decide("ada"), style)) == fields
    assert dict(fields_of(limiter.decide("ada", 9), style))["retry-after"] == "40"
    assert "retry-after" not in dict(fields_of(limiter.decide("ada", 10), style))


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        # The examples of the tenth draft.
        ({"ratelimit": '"default";r=50;t=30'}, Told(50, 30)),
        ({"ratelimit": '"daily";r=1;t=36000'}, Told(1, 36000)),
        ({"ratelimit": '"problemPolicy";r=0;t=10, "other";r=5;t=99'}, Told(0, 10)),
        ({"ratelimit": '"peruser";r=29;pk=:Q0E=:, "a\\"b" ; t=5 ; r=3'}, Told(3, 5)),
        ({"ratelimit": '"a";r=0;t=5, "b";r=0;t=50'}, Told(0, 50)),
        ({"ratelimit-remaining": "7", "ratelimit-reset": "12"}, Told(7, 12)),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000030"}, Told(0, 30)),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1600000000"}, Told(0, 0)),
        ({"x-rate-limit-remaining": "3.0", "x-rate-limit-reset": "4"}, Told(3, 4)),
        ({"ratelimit": '"a";r=-1'}, None),
        ({"ratelimit": '"a;r=1;t=1'}, None),
        ({"ratelimit": "limit=5"}, None),
        ({"ratelimit-remaining": "many", "ratelimit-reset": "1"}, None),
        ({}, None),
    ],
)
def test_what_servers_tell_is_understood(headers: dict[str, str], told: Told | None) -> None:
    assert read_fields(headers, NOW) == told


@given(st.text(max_size=60))
def test_nothing_that_a_server_writes_is_an_error(value: str) -> None:
    read_fields({"ratelimit": value, "x-ratelimit-remaining": value}, NOW)
    read_fields({"ratelimit": f'"{value}";r=1', "ratelimit-remaining": "1"}, NOW)


@pytest.mark.slow
@given(st.text(min_size=1, max_size=20), st.integers(0, 20), st.integers(1, 1000))
def test_what_is_written_is_read_back(name: str, cost: int, rate: int) -> None:
    limiter = LocalLimiter(Gcra(f"{rate}/min", burst=20, name=name), clock=ManualClock())
    decision = limiter.decide("ada", cost)
    told = read_fields(dict(fields_of(decision, FieldStyle.DRAFT_10)), NOW)
    assert told is not None
    assert told.left == 20 - cost


def test_a_forged_address_changes_nothing() -> None:
    proxies = trusted_proxies(["10.0.0.0/8", "fd00::/8"])
    forged = ["6.6.6.6", "203.0.113.9", "10.0.0.2"]
    assert client_address("10.0.0.1", forged, proxies) == "203.0.113.9"
    assert client_address("198.51.100.7", forged, proxies) == "198.51.100.7"
    assert client_address("10.0.0.1", forged, []) == "10.0.0.1"
    assert client_address("10.0.0.1", ["nonsense"], proxies) == "nonsense"
    assert client_address("10.0.0.1", ["10.0.0.3"], proxies) == "10.0.0.3"
    with pytest.raises(TypeError, match="give networks"):
        trusted_proxies("10.0.0.0/8")


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("unix:", "unix:"),
    ],
)
def test_one_customer_is_one_key(address: str, key: str) -> None:
    assert key_of(address) == key

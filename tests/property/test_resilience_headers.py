"""Whatever a peer sends in a header field, nothing breaks and nothing is believed that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.resilience.core import headers
from moreton.resilience.core.headers import Criticality
from moreton.resilience.core.retry_after import parse_retry_after, retry_after_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECONDS = st.floats(1e-9, 3.6e11)
# Text as peers send it: mostly near to what is right.
NEARLY = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789HMSmunGT:,- .+eJanFri", max_size=40),
    st.from_regex(r"[A-Z][a-z]{2}, \d{1,25} [A-Z][a-z]{2} \d{1,25} \d\d:\d\d:\d\d [A-Z+-]{1,3}\d*"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NEARLY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(NEARLY)
def test_a_retry_after_of_any_text_is_a_positive_wait_or_nothing(value: str) -> None:
    wait = parse_retry_after(value, NOW)
    assert wait is None or wait >= timedelta(0)


@given(st.integers(0, 999_999_999))
def test_a_retry_after_in_seconds_is_read(seconds: int) -> None:
    assert parse_retry_after(f" {seconds} ", NOW) == timedelta(seconds=seconds)


@given(st.integers(1, 10**8))
def test_a_retry_after_as_a_date_is_what_is_left_until_then(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(date, NOW) == timedelta(seconds=seconds)


@given(st.integers(0, 10**8))
def test_a_date_that_has_passed_says_nothing(seconds: int) -> None:
    date = format_datetime(NOW - timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(date, NOW) is None


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-5", "+5", "1.5", "5 s", "\u0665", "0x10", "Fri, 31 Feb 2026 00:00:00 GMT"],
)
def test_a_malformed_retry_after_says_nothing(value: str) -> None:
    assert parse_retry_after(value, NOW) is None


def test_a_number_of_seconds_beyond_all_reason_is_the_longest_wait() -> None:
    assert parse_retry_after("9" * 400, NOW) == timedelta.max
    for asked in (float("inf"), 1e300, 10**400, "9" * 400):
        assert retry_after_of({}, {"retry_after": asked}, NOW) == timedelta.max
    assert retry_after_of({}, {"retry_after": float("nan")}, NOW) is None


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Fri, 01 May 2026 12:00:30 GMT", 30),
        ("Friday, 01-May-26 12:00:30 GMT", 30),  # RFC 850, which recipients have to read
        ("Fri May  1 12:00:30 2026", 30),  # asctime, the same
        ("Fri, 01 May 2026 14:00:30 +0200", 30),
    ],
)
def test_all_three_forms_of_http_dates_are_read(date: str, seconds: int) -> None:
    assert parse_retry_after(date, NOW) == timedelta(seconds=seconds)


@given(st.dictionaries(st.sampled_from(["retry_after", "retry-after", "retryAfter"]), JSON) | JSON)
def test_a_problem_of_any_shape_asks_for_a_wait_or_nothing(problem: object) -> None:
    wait = retry_after_of({}, problem, NOW)
    assert wait is None or wait >= timedelta(0)


def test_the_header_counts_before_the_problem() -> None:
    assert retry_after_of({"retry-after": "7"}, {"retry_after": 9}, NOW) == timedelta(seconds=7)
    assert retry_after_of({}, {"retry_after": 9.5}, NOW) == timedelta(seconds=9.5)
    assert retry_after_of({}, {"retryAfter": "9"}, NOW) == timedelta(seconds=9)
    assert retry_after_of({"retry-after": "soon"}, {"retry_after": 9}, NOW) is None
    assert retry_after_of({}, {"retry_after": True}, NOW) is None


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(minutes=-5)])
def test_a_date_counts_from_the_date_of_its_answer(ahead: timedelta) -> None:
    there = NOW + ahead
    headers = {"retry-after": format_datetime(there + timedelta(seconds=30), usegmt=True)}
    dated = {**headers, "date": format_datetime(there, usegmt=True)}
    assert retry_after_of(dated, None, NOW) == timedelta(seconds=30)
    assert retry_after_of({**headers, "date": "today"}, None, NOW) == retry_after_of(
        headers, None, NOW
    )
    assert retry_after_of({"retry-after": "30", "date": "x"}, None, NOW) == timedelta(seconds=30)


@given(SECONDS)
def test_a_grpc_timeout_is_read_back_never_longer(seconds: float) -> None:
    value = headers.format_grpc_timeout(seconds)
    assert len(value) <= 9
    read = headers.read_timeout({headers.GRPC_TIMEOUT: value})
    assert read is not None
    # Eight digits: of seven significant ones, where the unit has just changed to the next.
    assert seconds * (1 - 1e-5) - 1e-9 <= read <= max(seconds * (1 + 1e-9), 1e-9)


@given(st.floats(0.001, 1e6))
def test_a_timeout_in_milliseconds_is_read_back_never_longer(seconds: float) -> None:
    read = headers.read_timeout({headers.TIMEOUT: headers.format_timeout(seconds)})
    assert read is not None
    assert seconds - 0.001 <= read <= seconds * (1 + 1e-9)


@given(st.floats(1, 3600), st.floats(1, 3600), st.floats(1, 3600))
def test_the_shortest_of_all_timeouts_counts(own: float, envoy: float, grpc: float) -> None:
    fields = {
        headers.TIMEOUT: headers.format_timeout(own),
        headers.ENVOY_TIMEOUT: headers.format_timeout(envoy),
        headers.GRPC_TIMEOUT: headers.format_grpc_timeout(grpc),
    }
    assert headers.read_timeout(fields) == pytest.approx(min(own, envoy, grpc), abs=0.001)


@given(NEARLY, NEARLY, NEARLY, NEARLY, NEARLY)
def test_fields_of_any_text_break_nothing(a: str, b: str, c: str, d: str, e: str) -> None:
    fields = {
        headers.TIMEOUT: a,
        headers.ENVOY_TIMEOUT: b,
        headers.GRPC_TIMEOUT: c,
        headers.ATTEMPT: d,
        headers.CRITICALITY: e,
    }
    timeout = headers.read_timeout(fields)
    assert timeout is None or timeout >= 0
    assert 1 <= headers.read_attempt(fields) <= 1000
    assert headers.read_criticality(fields) in Criticality


@pytest.mark.parametrize("value", ["", "0", "00", "-1", "1.5", "1s", "\u0661", "99999999999"])
def test_a_malformed_timeout_says_nothing(value: str) -> None:
    assert headers.read_timeout({headers.TIMEOUT: value}) is None


@pytest.mark.parametrize("value", ["", "5", "S", "123456789S", "5s", "-5S", "\u0665S"])
def test_a_malformed_grpc_timeout_says_nothing(value: str) -> None:
    assert headers.read_timeout({headers.GRPC_TIMEOUT: value}) is None


def test_a_grpc_timeout_of_nothing_is_a_deadline_that_has_passed() -> None:
    # grpc-go sends 0n then, though the protocol asks for a positive number.
    assert headers.read_timeout({headers.GRPC_TIMEOUT: "0n"}) == 0


def test_the_attempt_and_the_criticality_are_read() -> None:
    assert headers.read_attempt({}) == 1
    assert headers.read_attempt({headers.ATTEMPT: "3"}) == 3
    assert headers.read_attempt({headers.ATTEMPT: "0"}) == 1
    assert headers.read_attempt({headers.ATTEMPT: "12345"}) == 1
    assert headers.read_criticality({}) is Criticality.CRITICAL
    for level in Criticality:
        assert headers.read_criticality({headers.CRITICALITY: level.value}) is level
    assert headers.read_criticality({headers.CRITICALITY: "vital"}) is Criticality.CRITICAL

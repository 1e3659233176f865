from __future__ import annotations

import pytest

from moreton.ratelimit.quota.core.messages import (
    Grants,
    Report,
    decode_grants,
    decode_report,
    encode_grants,
    encode_report,
)


def test_a_report_is_read_back() -> None:
    report = Report({"orders": 12.5}, {"orders": 0.25}, 7, 8)
    assert decode_report(encode_report(report)) == report


def test_grants_are_read_back() -> None:
    grants = Grants(
        7, {"orders": {"a": 0.25, "b": 0.75}}, {"orders": {"a": 0.25, "b": 0.8}}, {"a": 8}
    )
    assert decode_grants(encode_grants(grants)) == grants


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"demand": {}, "holds": {}, "seen": -1, "life": 0}',
        b'{"demand": {}, "holds": {}, "seen": true, "life": 0}',
        b'{"demand": {"q": "1"}, "holds": {}, "seen": 1, "life": 0}',
        b'{"demand": {"q": NaN}, "holds": {}, "seen": 1, "life": 0}',
        b'{"demand": {"q": -1}, "holds": {}, "seen": 1, "life": 0}',
    ],
)
def test_what_is_no_report_is_none(stored: bytes) -> None:
    assert decode_report(stored) is None


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{}",
        b'{"number": 1, "shares": {}}',
        b'{"number": 1, "shares": {}, "at_most": {}, "lives": {"a": "x"}}',
        b'{"number": 1, "shares": {"q": []}, "at_most": {}, "lives": {}}',
        b'{"number": "1", "shares": {}, "at_most": {}, "lives": {}}',
    ],
)
def test_what_are_no_grants_is_none(stored: bytes) -> None:
    assert decode_grants(stored) is None

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.controlplane.publishing import senders
from moreton.controlplane.publishing.senders import Senders, place

A, B = "10.0.0.1:80", "10.0.0.2:80"


def test_proxy_may_send_until_it_acknowledges_endpoints_without_the_address() -> None:
    known = Senders()
    known.published("shop", ["v1"], [A, B])
    assert known.may_send("shop", "v1", A)
    known.published("shop", ["v2"], [B])
    assert known.may_send("shop", "v1", A), "it has not acknowledged the newer ones"
    assert not known.may_send("shop", "v2", A)
    assert known.may_send("shop", "v2", B)


def test_later_endpoints_count_as_well_as_the_ones_that_an_address_went_with() -> None:
    known = Senders()
    known.published("shop", ["v1"], [A, B])
    known.published("shop", ["v2"], [B])
    known.published("shop", ["v3"], [])
    assert not known.may_send("shop", "v3", A)
    assert not known.may_send("shop", "v2", A)
    assert known.may_send("shop", "v2", B)


def test_address_that_comes_back_and_goes_again_is_waited_for_again() -> None:
    known = Senders()
    known.published("shop", ["v1"], [A])
    known.published("shop", ["v2"], [])
    known.published("shop", ["v1"], [A])
    assert known.may_send("shop", "v2", A), "it will be sent to in a moment"
    known.published("shop", ["v3"], [])
    assert known.may_send("shop", "v1", A)
    assert not known.may_send("shop", "v3", A)


def test_same_endpoints_count_under_each_of_their_versions() -> None:
    known = Senders()
    known.published("shop", ["v1", "g1"], [A])
    known.published("shop", ["v2", "g2"], [])
    assert known.may_send("shop", "g1", A)
    assert not known.may_send("shop", "g2", A)


def test_proxy_with_endpoints_of_before_a_restart_may_send_anywhere() -> None:
    known = Senders()
    known.published("shop", ["v1"], [B])
    assert known.may_send("shop", "", A)
    assert known.may_send("shop", "of-before", A)
    assert not known.may_send("shop", "v1", A)


def test_nobody_sends_to_a_service_that_was_taken_out() -> None:
    known = Senders()
    known.published("shop", ["v1"], [A])
    known.removed("shop")
    assert not known.may_send("shop", "v1", A)


def test_what_is_remembered_is_bounded_and_what_is_forgotten_is_waited_for() -> None:
    known = Senders()
    known.published("shop", ["first"], [A])
    for number in range(senders._VERSIONS_MAX + 1):
        known.published("shop", [f"v{number}"], [])
    assert len(known._services["shop"].numbers) == senders._VERSIONS_MAX
    assert known.may_send("shop", "v0", A), "nobody knows any more what that was"
    assert not known.may_send("shop", f"v{senders._VERSIONS_MAX}", A)


def test_place_is_written_as_an_instance_has_it() -> None:
    assert place("10.0.0.1", 80) == "10.0.0.1:80"
    assert place("fd00::1", 80) == "[fd00::1]:80"


@pytest.mark.slow
@given(st.lists(st.frozensets(st.sampled_from("abc")), min_size=1, max_size=12), st.data())
def test_answer_is_that_of_whoever_remembers_everything(
    told: list[frozenset[str]], data: st.DataObject
) -> None:
    """The version is the content, as it is with real endpoints."""
    known = Senders()
    for each in told:
        known.published("shop", ["".join(sorted(each))], each)
    has = data.draw(st.sampled_from(told))
    for address in "abc":
        if address in has or address in told[-1]:
            assert known.may_send("shop", "".join(sorted(has)), address)
        elif has == told[-1]:
            assert not known.may_send("shop", "".join(sorted(has)), address)

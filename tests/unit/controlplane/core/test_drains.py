from __future__ import annotations

from dataclasses import replace

import pytest

from moreton.controlplane.core.drains import (
    Leaving,
    Leavings,
    Progress,
    Share,
    decode_shares,
    encode_shares,
)
from moreton.registry import (
    Instance,
    InstanceId,
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceUpdated,
)
from moreton.registry.core.standing import InstanceState

ONE = Instance(InstanceId("1"), "shop", "10.0.0.1", 80)
OUT = replace(ONE, state=InstanceState.DRAINING)
REST = replace(ONE, state=InstanceState.MAINTENANCE)


def leaving(known: Leavings) -> Leaving:
    found = known.get("shop", "1")
    assert found is not None
    return found


def test_instance_leaves_from_the_revision_that_told_of_it_until_it_serves_or_is_gone() -> None:
    known = Leavings()
    assert not known.apply(InstanceRegistered(3, ONE))
    assert known.apply(InstanceUpdated(4, OUT, ONE))
    assert leaving(known) == Leaving(OUT, 4, exact=True)
    known.apply(InstanceUpdated(5, REST, OUT))
    assert leaving(known).revision == 4, "it was out all the time"
    assert known.apply(InstanceUpdated(6, ONE, REST))
    assert known.get("shop", "1") is None
    known.apply(InstanceUpdated(7, OUT, ONE))
    assert known.apply(InstanceRemoved(8, "shop", ONE.id, OUT))
    assert len(known) == 0


def test_list_after_a_gap_keeps_since_when_an_instance_is_leaving() -> None:
    known = Leavings()
    known.apply(InstanceRegistered(4, OUT))
    known.apply(InstancesListed(9, (OUT,)))
    assert leaving(known) == Leaving(OUT, 4, exact=True)
    known.apply(InstancesListed(10, (ONE,)))
    known.apply(InstancesListed(11, (OUT,)))
    assert leaving(known) == Leaving(OUT, 11, exact=False)


MANY = (
    "proxy envoy of node a, proxy envoy of node b, proxy envoy of node c and 2 more "
    "to acknowledge that nothing is sent to it"
)


def share(
    node: str = "", *, acknowledged: bool = True, requests: int | None = 0, counts: bool = True
) -> Share:
    return Share(node, "envoy", acknowledged, requests, counts)


def progress(*shares: Share, silent: tuple[str, ...] = (), state: str = "draining") -> Progress:
    return Progress("shop", "1", state, shares, silent)


def test_instance_is_out_when_every_proxy_acknowledged_and_has_nothing_under_way() -> None:
    assert progress(share(), share("b")).idle
    assert not progress(share(), share("b", acknowledged=False)).acknowledged
    busy = progress(share(), share("b", requests=2))
    assert (busy.acknowledged, busy.idle, busy.requests) == (True, False, 2)
    assert not progress(share(), share(requests=None)).idle, "nobody knows"
    assert progress(share(requests=None, counts=False)).idle, "a gRPC client never tells"
    assert not progress(share(), silent=("c",)).acknowledged
    assert not progress(share(), state="serving").acknowledged


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (progress(share()), ""),
        (
            progress(share("a", acknowledged=False), silent=("c",)),
            "proxy envoy of node a, node c to acknowledge that nothing is sent to it",
        ),
        (progress(share(requests=3)), "requests under way, 3 at proxy envoy"),
        (
            progress(share(requests=None)),
            "proxy envoy to say how many requests are under way",
        ),
        (
            progress(*[share(name, acknowledged=False) for name in "abcde"]),
            MANY,
        ),
    ],
)
def test_what_is_waited_for_is_said_by_name(found: Progress, words: str) -> None:
    assert found.waits_for() == words
    assert found.document()["waits_for"] == words


def test_nodes_understand_what_they_tell_each_other() -> None:
    told = encode_shares([share(requests=3)], 7)
    assert decode_shares("b", told, Leaving(OUT, 7, exact=True)) == [share("b", requests=3)]
    assert decode_shares("b", told, Leaving(OUT, 6, exact=True)) is not None
    assert decode_shares("b", told, Leaving(OUT, 8, exact=True)) is None, "of an earlier drain"
    assert decode_shares("b", told, Leaving(OUT, 8, exact=False)) is not None
    for odd in (None, {}, {"revision": 9, "proxies": [1]}, {"revision": "x", "proxies": []}):
        assert decode_shares("b", odd, Leaving(OUT, 7, exact=True)) is None

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from moreton.controlplane.drains.counting import requests_under_way
from moreton.envoy.admin import EnvoyDoesNotAnswer


class Admin:
    """Answers what it was given."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def clusters(self, names: Collection[str] | None = None) -> Any:
        assert names == ["shop"]
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def host(address: str, port: int, **stats: str) -> dict[str, Any]:
    found: list[dict[str, str]] = [{"name": name, "value": value} for name, value in stats.items()]
    # Envoy leaves the value of a gauge out that is 0.
    return {
        "address": {"socket_address": {"address": address, "port_value": port}},
        "stats": [*found, {"name": "cx_active"}],
    }


async def test_requests_are_counted_by_cluster_and_address() -> None:
    hosts = [host("10.0.0.1", 80, rq_active="3"), host("fd00::1", 81), {"address": {"pipe": {}}}]
    document = {"cluster_statuses": [{"name": "shop", "host_statuses": hosts}, {"name": "empty"}]}
    assert await requests_under_way(Admin(document), ["shop"]) == {
        ("shop", "10.0.0.1:80"): 3,
        ("shop", "[fd00::1]:81"): 0,
    }


@pytest.mark.parametrize(
    "answer",
    [
        EnvoyDoesNotAnswer("gone"),
        ValueError("no JSON"),
        [],
        {"cluster_statuses": [1]},
        {"cluster_statuses": [{"host_statuses": [host("a", 1)]}]},
    ],
)
async def test_nothing_is_known_when_envoy_does_not_say(answer: Any) -> None:
    assert await requests_under_way(Admin(answer), ["shop"]) is None

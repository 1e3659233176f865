"""What the agent's endpoints refuse: with Consul's status, and a sentence that says why."""

from __future__ import annotations

from typing import Any

import pytest

from unit.registry.consul.asking import Consul


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (None, "the service is null"),
        ([], "the service is a list, expected an object"),
        ({"Port": 1}, "Missing service name"),
        ({"Name": "Bad_Name", "Port": 1}, 'service name "Bad_Name" is not valid'),
        ({"Name": "orders", "Port": 0}, "port 0 is outside 1 to 65535"),
        ({"Name": "orders", "Port": "80"}, "port is '80', expected a whole number"),
        ({"Name": "orders", "Port": 1, "ID": "a/b"}, "instance id 'a/b' is not valid"),
        ({"Name": "orders", "Port": 1, "Address": "0.0.0.0"}, "address 0.0.0.0 is not one"),
        ({"Name": "orders", "Port": 1, "Tags": "x"}, "tags is 'x', expected a list"),
        ({"Name": "orders", "Port": 1, "Meta": {"a": 1}}, "meta is an object, expected"),
        ({"Name": "orders", "Port": 1, "Kind": "connect-proxy"}, "mesh"),
        ({"Name": "orders", "Port": 1, "Check": {"Interval": "5s"}}, "Must provide TTL"),
        ({"Name": "orders", "Port": 1, "Check": {"TCP": "a:1"}}, "Interval must be > 0"),
        (
            {"Name": "orders", "Port": 1, "Check": {"TTL": "5", "Name": "x"}},
            'time: invalid duration "5"',
        ),
        ({"Name": "orders", "Port": 1, "Check": {"TTL": "5s", "Status": "ok"}}, "not 'ok'"),
        (
            {"Name": "orders", "Port": 1, "Check": {"DockerContainerID": "x", "Interval": "5s"}},
            "Docker checks are not supported",
        ),
        (
            {"Name": "orders", "Port": 1, "Check": {"HTTP": "shop:80", "Interval": "5s"}},
            "is not a URL like",
        ),
        (
            {"Name": "orders", "Port": 1, "Check": {"TCP": "shop", "Interval": "5s"}},
            "write HOST:PORT",
        ),
    ],
)
async def test_service_that_cannot_be_is_refused_with_the_reason(
    consul: Consul, body: Any, text: str
) -> None:
    told = await consul.put("/v1/agent/service/register", body)
    assert told.status == 400, told.text
    assert text in told.text
    assert (await consul.get("/v1/catalog/services")).json == {}


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("service/deregister/nobody", 404, 'Unknown service ID "nobody"'),
        ("service/maintenance/nobody?enable=true", 404, "Unknown service ID"),
        ("service/maintenance/", 400, "Missing service ID"),
        ("service/maintenance/one", 400, "Missing value for enable"),
        ("service/maintenance/one?enable=perhaps", 400, 'Invalid value for enable: "perhaps"'),
        ("check/pass/nothing", 404, 'Unknown check ID "nothing"'),
        ("check/pass/tcp", 500, 'CheckID "tcp" does not have associated TTL'),
        ("check/update/ttl", 400, "the update is null"),
        ("check/register", 400, "the check is null"),
    ],
)
async def test_request_that_cannot_be_is_refused_with_consuls_status(
    consul: Consul, target: str, status: int, text: str
) -> None:
    tcp = {"CheckID": "tcp", "TCP": "10.0.0.1:8000", "Interval": "5s"}
    await consul.register(ID="one", Checks=[tcp, {"CheckID": "ttl", "TTL": "5s"}])
    told = await consul.put(f"/v1/agent/{target}")
    assert told.status == status, told.text
    assert text in told.text

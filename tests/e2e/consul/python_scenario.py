"""What a Python program does with Consul: for py-consul and python-consul2, which are alike.

Run as `python python_scenario.py PORT TOKEN`, the token may be empty; ends with the line `fine`.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import consul

NAME = f"shop-{consul.__version__.replace('.', '-')}"


def services(client: Any) -> None:
    one = f"{NAME}-1"
    ttl = consul.Check.ttl("30s")
    client.agent.service.register(
        NAME, service_id=one, address="127.0.0.1", port=8001, tags=["blue"], check=ttl
    )
    client.agent.service.register(NAME, service_id=f"{NAME}-2", address="127.0.0.1", port=8002)
    assert client.agent.services()[one]["Port"] == 8001
    assert client.agent.checks()[f"service:{one}"]["Status"] == "critical"
    index, found = client.health.service(NAME, passing=True)
    assert int(index) >= 1
    assert [each["Service"]["ID"] for each in found] == [f"{NAME}-2"]
    assert client.agent.check.ttl_pass(f"service:{one}", notes="fine")
    index, found = client.health.service(NAME, passing=True)
    assert [each["Service"]["Port"] for each in found] == [8001, 8002]
    _, found = client.health.service(NAME, tag="blue")
    assert len(found) == 1
    _, listed = client.catalog.services()
    assert listed[NAME] == ["blue"]
    _, rows = client.catalog.service(NAME)
    assert [row["ServiceID"] for row in rows] == [one, f"{NAME}-2"]
    _, checks = client.health.checks(NAME)
    assert {check["Status"] for check in checks} == {"passing"}
    assert len(client.health.state("passing")[1]) >= 3
    assert client.agent.service.maintenance(one, "true", "new disk")
    _, found = client.health.service(NAME, passing=True)
    assert [each["Service"]["ID"] for each in found] == [f"{NAME}-2"]
    client.agent.service.maintenance(one, "false")
    woken: list[Any] = []
    index, _ = client.health.service(NAME)
    thread = threading.Thread(
        target=lambda: woken.append(client.health.service(NAME, index=index, wait="20s"))
    )
    thread.start()
    assert client.agent.service.deregister(one)
    thread.join(25)
    assert [each["Service"]["ID"] for each in woken[0][1]] == [f"{NAME}-2"]
    assert int(woken[0][0]) > int(index)
    client.agent.service.deregister(f"{NAME}-2")
    assert NAME not in client.catalog.services()[1]


def checks(client: Any, port: int) -> None:
    """Every kind of check is taken as this client writes it."""
    made = [
        consul.Check.http(f"http://127.0.0.1:{port}/", "10s", timeout="1s", deregister="10m"),
        consul.Check.tcp("127.0.0.1", port, "10s", timeout="1s"),
        consul.Check.ttl("30s"),
    ]
    for number, check in enumerate(made):
        name = f"{NAME}-check-{number}"
        client.agent.service.register(name, address="127.0.0.1", port=port, check=check)
        assert f"service:{name}" in client.agent.checks()
        client.agent.service.deregister(name)


def keys(client: Any) -> None:
    key = f"{NAME}/key"
    _, nothing = client.kv.get(key)
    assert nothing is None
    assert client.kv.put(key, "fig", flags=7)
    _, found = client.kv.get(key)
    assert (found["Value"], found["Flags"]) == (b"fig", 7)
    assert client.kv.put(key, "x", cas=0) is False
    assert client.kv.put(key, "tree", cas=found["ModifyIndex"]) is True
    assert client.kv.get(f"{NAME}/", keys=True)[1] == [key]
    assert len(client.kv.get(f"{NAME}/", recurse=True)[1]) == 1
    session = client.session.create(name="lock", behavior="delete", ttl=30, lock_delay=0)
    assert client.session.info(session)[1]["Behavior"] == "delete"
    assert client.session.renew(session)["ID"] == session
    assert session in [each["ID"] for each in client.session.list()[1]]
    assert client.kv.put(f"{NAME}/lock", "me", acquire=session)
    other = client.session.create(ttl=30)
    assert client.kv.put(f"{NAME}/lock", "you", acquire=other) is False
    assert client.session.destroy(session)
    assert client.kv.get(f"{NAME}/lock")[1] is None
    client.session.destroy(other)
    assert client.kv.delete(f"{NAME}/", recurse=True)
    assert client.kv.get(key)[1] is None


def unlocked(client: Any) -> None:
    """What these libraries never send a token with."""
    assert client.agent.self()["Config"]["NodeName"] == "moreton"
    assert client.agent.members()[0]["Name"] == "moreton"
    client.kv.put(f"{NAME}/txn", "tree")
    found = client.txn.put([{"KV": {"Verb": "get", "Key": f"{NAME}/txn"}}])
    assert found["Results"][0]["KV"]["Value"] == "dHJlZQ=="


def refusals(port: int) -> None:
    try:
        consul.Consul(port=port, token="wrong").catalog.services()
    except consul.ACLPermissionDenied:
        pass
    else:
        raise AssertionError("a wrong token was let in")


def main() -> None:
    port, token = int(sys.argv[1]), sys.argv[2]
    client = consul.Consul(host="127.0.0.1", port=port, token=token or None)
    assert ":" in client.status.leader()
    assert len(client.status.peers()) == 1
    assert client.catalog.datacenters() == ["dc1"]
    assert client.catalog.nodes()[1][0]["Node"] == "moreton"
    services(client)
    checks(client, port)
    keys(client)
    if token:
        refusals(port)
    else:
        unlocked(client)
    print("fine")


if __name__ == "__main__":
    main()

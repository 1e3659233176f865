from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from moreton.controlplane.sources import following
from moreton.controlplane.sources.following import Sources, until
from moreton.gateway.config import ServiceModel
from moreton.registry import Instance, InstanceId, InstanceView, Registry
from moreton.registry.core.standing import InstanceKind
from moreton.store import Compare, Store, TxnResult, open_store
from moreton.store.core.model import Op

PATIENCE_SECONDS = 30.0


@dataclass
class Ground:
    """A registry and the folder of a moreton.yaml."""

    store: Store
    registry: Registry
    folder: Path
    troubles: dict[str, str] = field(default_factory=dict)
    writing: int = 0
    writing_most: int = 0

    def begin(self, what: str, why: str) -> None:
        self.troubles[what] = why

    def end(self, what: str) -> None:
        self.troubles.pop(what, None)

    async def write(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        self.writing += 1
        self.writing_most = max(self.writing_most, self.writing)
        try:
            return await self.store.txn(compare, then)
        finally:
            self.writing -= 1

    @asynccontextmanager
    async def following(self, **services: Mapping[str, Any]) -> AsyncIterator[None]:
        models = {name: ServiceModel.model_validate(body) for name, body in services.items()}
        sources = Sources(self.registry, self, base=self.folder, write=self.write)
        task = asyncio.create_task(sources.follow(models))
        try:
            yield
        finally:
            assert not task.done(), task.result()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait(self, *endpoints: str) -> list[Instance]:
        def is_there(found: list[Instance]) -> bool:
            return sorted(each.endpoint for each in found) == sorted(endpoints)

        return await self.wait_for(is_there)

    async def wait_for(self, condition: Callable[[list[Instance]], bool]) -> list[Instance]:
        view = InstanceView()
        async with asyncio.timeout(PATIENCE_SECONDS), self.registry.watch() as changes:
            async for change in changes:
                view.apply(change)
                found = [each for some in view.services().values() for each in some]
                if condition(found):
                    return found
        raise AssertionError("a watch has no end")

    async def wait_trouble(self, text: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(text in why for why in self.troubles.values()):
                await asyncio.sleep(0.01)


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    monkeypatch.setattr(following, "FILE_SECONDS", 0.01)
    store = open_store("memory:")
    yield Ground(store, Registry(store), tmp_path)
    await store.close()


async def test_of_many_services_few_are_registered_at_once(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_REGISTERED_AT_ONCE", 3)
    # A file: what is written waits for the disk, so that others come in between.
    ground.store = open_store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    ground.registry = Registry(ground.store)
    services = {f"s{number}": {"addresses": [f"10.0.0.{number}:80"]} for number in range(40)}
    async with ground.following(**services):
        await ground.wait(*(f"10.0.0.{number}:80" for number in range(40)))
    assert ground.writing_most == 3
    await ground.store.close()


async def test_addresses_are_registered_and_those_that_went_are_not_any_more(
    ground: Ground,
) -> None:
    async with ground.following(shop={"addresses": ["10.0.0.1:80", "10.0.0.2:80"]}):
        found = await ground.wait("10.0.0.1:80", "10.0.0.2:80")
    assert {(each.source, each.kind) for each in found} == {("yaml", "persistent")}
    before = ground.store.statistics().revision
    async with ground.following(shop={"addresses": ["10.0.0.1:80", "10.0.0.2:80"]}):
        await asyncio.sleep(0)
    assert ground.store.statistics().revision == before
    async with ground.following(shop={"addresses": ["10.0.0.2:80", "10.0.0.3:80"]}):
        await ground.wait("10.0.0.2:80", "10.0.0.3:80")
    async with ground.following():
        await ground.wait()


async def test_who_registered_otherwise_is_left_alone(ground: Ground) -> None:
    for name, kind in (("a", InstanceKind.PERSISTENT), ("b", InstanceKind.EPHEMERAL)):
        other = Instance(InstanceId(name), "shop", "10.0.0.9", 90 + ord(name), kind=kind)
        await ground.registry.register(other)
    async with ground.following(shop={"addresses": ["10.0.0.1:80"]}):
        await ground.wait("10.0.0.1:80", "10.0.0.9:187", "10.0.0.9:188")
    async with ground.following():
        await ground.wait("10.0.0.9:187", "10.0.0.9:188")


async def test_file_is_followed_and_a_wrong_one_changes_nothing(ground: Ground) -> None:
    file = ground.folder / "targets.json"
    async with ground.following(shop={"file": "targets.json"}):
        await ground.wait_trouble("it cannot be read: no such file or directory")
        write(file, "10.0.0.1:80", "10.0.0.2:80")
        # Without it: looked for again after a while, as every two seconds.
        await ground.wait("10.0.0.1:80", "10.0.0.2:80")
        assert ground.troubles == {}
        file.write_text("[{")
        await ground.wait_trouble("neither JSON nor YAML")
        await ground.wait("10.0.0.1:80", "10.0.0.2:80")
        write(file, "10.0.0.2:80")
        await ground.wait("10.0.0.2:80")
        assert ground.troubles == {}
        write(file)
        await ground.wait()


async def test_names_in_a_file_are_resolved(ground: Ground) -> None:
    write(ground.folder / "targets.json", "localhost:80", "nobody.invalid:80")
    async with ground.following(shop={"file": "targets.json"}):
        await ground.wait_trouble("nobody.invalid")
        write(ground.folder / "targets.json", "localhost:80")
        found = await ground.wait_for(bool)
        assert {each.address for each in found} <= {"127.0.0.1", "::1"}


async def test_service_that_changes_its_source_loses_the_instances_of_before(
    ground: Ground,
) -> None:
    write(ground.folder / "targets.json", "10.0.0.2:80")
    async with ground.following(shop={"addresses": ["10.0.0.1:80"]}):
        await ground.wait("10.0.0.1:80")
    async with ground.following(shop={"file": "targets.json"}):
        await ground.wait("10.0.0.2:80")


def write(file: Path, *targets: str) -> None:
    file.write_text(json.dumps([{"targets": targets}] if targets else []))


class NameServer(asyncio.DatagramProtocol):
    """Says what it is told to, over UDP."""

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.asked = 0
        self.broken = False
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        question = query.question[0]
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        records = self.zone.get((name, kind))
        if self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif records:
            answer.answer.append(dns.rrset.from_text(question.name, 1, "IN", kind, *records))
        elif not any(known == name for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[tuple[NameServer, str]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server, f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


async def test_addresses_of_a_name_are_followed_and_an_outage_changes_nothing(
    ground: Ground,
) -> None:
    async with name_server() as (server, place):
        server.zone["shop.internal.", "A"] = ["10.0.0.1", "10.0.0.2"]
        server.zone["shop.internal.", "AAAA"] = ["fd00::1"]
        names = {"name": "shop.internal.", "port": 80, "server": place, "interval": "1s"}
        async with ground.following(shop={"dns": names}):
            await ground.wait("10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80")
            server.broken = True
            await ground.wait_trouble("what was known last goes on counting")
            await ground.wait("10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80")
            server.broken = False
            del server.zone["shop.internal.", "AAAA"]
            server.zone["shop.internal.", "A"] = ["10.0.0.2"]
            await ground.wait("10.0.0.2:80")
            assert ground.troubles == {}


async def test_services_of_a_name_have_their_ports_weights_and_the_best_priority(
    ground: Ground,
) -> None:
    async with name_server() as (server, place):
        server.zone["_shop._tcp.internal.", "SRV"] = [
            "1 5 8001 a.internal.",
            "1 0 8002 b.internal.",
            "2 9 8003 c.internal.",
        ]
        for number, host in enumerate("abc", start=1):
            server.zone[f"{host}.internal.", "A"] = [f"10.0.0.{number}"]
        names = {"name": "_shop._tcp.internal.", "type": "SRV", "server": place}
        async with ground.following(shop={"dns": names}):
            found = await ground.wait("10.0.0.1:8001", "10.0.0.2:8002")
    assert [(each.port, each.weight) for each in found] == [(8001, 5), (8002, 1)]


async def test_work_is_begun_anew_when_an_edit_comes_and_its_fault_is_raised() -> None:
    edited = asyncio.Event()
    asyncio.get_running_loop().call_soon(edited.set)
    await until(edited, asyncio.Event().wait)  # type: ignore[arg-type]

    async def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await until(asyncio.Event(), fail)

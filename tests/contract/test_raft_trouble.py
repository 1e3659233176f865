"""What is refused around a cluster, each with its reason, and with nothing lost or made."""

from __future__ import annotations

import json
import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.raft_nodes import Nodes, running_nodes
from moreton.consensus.disk import FolderInUse, FolderOfAnother
from moreton.consensus.host import HostSettings
from moreton.consensus.transport.errors import CannotListen
from moreton.kernel.time import SystemClock
from moreton.store import open_store
from moreton.store.raft import RaftStore, open_node
from moreton.store.raft.errors import (
    AddressNotUsable,
    AddressTaken,
    BadRaftUrl,
    ClocksApart,
    ClusterUnreachable,
    NodeFolderDamaged,
    NodeFolderTaken,
    NodeFolderUnusable,
    NodeStopped,
    NodeUnreachable,
    NotANodeFolder,
    SecretExposed,
    SecretRefused,
)
from moreton.store.raft.operating.making import join_cluster, make_first
from support.ports import free_port

IMPATIENT = HostSettings(timeout=timedelta(milliseconds=500))


class Wrong(SystemClock):
    """Ten minutes ahead, for whoever asks what day it is."""

    def wall(self) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=10)


def here() -> str:
    return f"127.0.0.1:{free_port()}"


def secret_of(nodes: Nodes) -> bytes:
    return (nodes.path(1) / "secret").read_bytes().strip()


def member_of(nodes: Nodes) -> str:
    return nodes.stores[1].node.status().addresses[1]


def members(nodes: Nodes) -> list[int]:
    return nodes.stores[1].node.status().raft.configuration.members()


# --- joining ----------------------------------------------------------------------------------


async def test_join_with_another_secret_is_refused(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, size=1) as nodes:
        path = tmp_path / "new"
        with pytest.raises(SecretRefused, match="has another cluster secret"):
            await join_cluster(path, here(), member_of(nodes), b"sixteen other bytes and more")
        assert not path.exists()
        assert members(nodes) == [1]


async def test_join_with_a_clock_ten_minutes_off_is_refused(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, size=1) as nodes:
        path = tmp_path / "new"
        with pytest.raises(ClocksApart, match=r"is (599|600|601) s ahead of that of the node"):
            await join_cluster(path, here(), member_of(nodes), secret_of(nodes), clock=Wrong())
        assert not path.exists()
        assert members(nodes) == [1]


async def test_join_where_nobody_or_something_else_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NodeUnreachable, match="no node of a cluster answers"):
        await join_cluster(tmp_path / "new", here(), here(), b"sixteen bytes or more")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        at = f"127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(NodeUnreachable):
            await join_cluster(tmp_path / "new", here(), at, b"sixteen bytes or more")
    assert not (tmp_path / "new").exists()


async def test_address_of_another_member_is_refused(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, size=2) as nodes:
        taken = nodes.stores[1].node.status().addresses[2]
        await nodes.stop(2)
        with pytest.raises(AddressTaken, match="node 2 of this cluster is at"):
            await join_cluster(tmp_path / "new", taken, member_of(nodes), secret_of(nodes))
        assert not (tmp_path / "new").exists()
        await nodes.start(2)
        await nodes.stores[1].put(b"a", b"1")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("203.0.113.1:7500", "cannot assign requested address"),
        ("127.0.0.1", "it is not host:port"),
        ("127.0.0.1:0", "it has no port"),
        ("127.0.0.1:70000", "it is not host:port"),
        ("0.0.0.0:7500", "others cannot dial a wildcard"),
        ("nobody.invalid:7500", "not known"),
    ],
)
def test_address_that_is_not_this_machines_is_refused(
    address: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(AddressNotUsable, match=why):
        make_first(tmp_path / "node", address)
    assert not (tmp_path / "node").exists()


def test_address_where_another_program_listens_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressNotUsable, match="already in use"):
            make_first(tmp_path / "node", address)


async def test_node_whose_address_leads_to_another_node_says_so(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, size=1) as nodes:
        make_first(tmp_path / "mine", member_of(nodes), listen=here())
        store = RaftStore(open_node(tmp_path / "mine", settings=nodes.settings))
        await store.node.wait_started()
        await nodes.until(store.node.misplaced)
        assert "a node of another cluster answers there" in str(store.node.misplaced())
        await store.close()
        assert nodes.stores[1].node.misplaced() is None


# --- folders ----------------------------------------------------------------------------------


def change_node(folder: Path, **values: object) -> None:
    file = folder / "node.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, **values}))


def test_folder_that_holds_a_node_is_not_made_one_again(tmp_path: Path) -> None:
    made = make_first(tmp_path / "node", here())
    before = (tmp_path / "node" / "node.json").read_bytes()
    with pytest.raises(NodeFolderTaken, match=f"node 1 of the cluster {made.node().cluster}"):
        make_first(tmp_path / "node", here())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NodeFolderTaken, match="a file of that name"):
        make_first(tmp_path / "file", here())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(NodeFolderTaken, match=r"mine\.txt"):
        make_first(tmp_path / "full", here())
    assert (tmp_path / "node" / "node.json").read_bytes() == before
    assert (tmp_path / "file").read_text() == "mine"


def test_empty_folder_becomes_a_node(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    assert make_first(tmp_path / "node", here()).node().node == 1
    assert [path.name for path in tmp_path.iterdir()] == ["node"]


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((NodeFolderUnusable, NodeFolderTaken)):
        make_first(tmp_path / "file" / "node", here())


async def test_folder_without_a_node_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NotANodeFolder, match="moreton cluster init"):
            open_store(f"raft:///{folder}")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 9}', '{"format": 1}', "\xff", '{"format": 1, "cluster": 7}']
)
async def test_damaged_node_file_is_refused(text: str, tmp_path: Path) -> None:
    make_first(tmp_path / "node", here())
    (tmp_path / "node" / "node.json").write_text(text, encoding="latin-1")
    with pytest.raises(NodeFolderDamaged, match="does not say any more which node it is"):
        open_store(f"raft:///{tmp_path}/node")


async def test_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    make_first(tmp_path / "node", here())
    secret = tmp_path / "node" / "secret"
    secret.chmod(0o640)
    with pytest.raises(SecretExposed, match=f"chmod 600 {secret}"):
        open_store(f"raft:///{tmp_path}/node")
    secret.unlink()
    with pytest.raises(NodeFolderDamaged, match="secret is missing"):
        open_store(f"raft:///{tmp_path}/node")


async def test_log_of_another_cluster_is_refused_and_left_untouched(tmp_path: Path) -> None:
    make_first(tmp_path / "node", here())
    make_first(tmp_path / "other", here())
    shutil.rmtree(tmp_path / "node" / "log")
    shutil.copytree(tmp_path / "other" / "log", tmp_path / "node" / "log")
    before = {path.name: path.read_bytes() for path in (tmp_path / "node" / "log").glob("0*")}
    store = open_store(f"raft:///{tmp_path}/node")
    with pytest.raises(FolderOfAnother, match="left untouched"):
        await store.put(b"a", b"1")
    await store.close()
    assert before == {
        path.name: path.read_bytes() for path in (tmp_path / "node" / "log").glob("0*")
    }


async def test_node_that_runs_already_is_not_run_twice(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, size=1) as nodes:
        again = open_store(nodes.url(1))
        with pytest.raises(FolderInUse, match="is in use by process"):
            await again.range(b"a")
        await again.close()
        await nodes.stores[1].put(b"a", b"1")


async def test_port_that_is_taken_when_the_node_starts_is_named(tmp_path: Path) -> None:
    address = here()
    make_first(tmp_path / "node", address)
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))):
        store = open_store(f"raft:///{tmp_path}/node")
        with pytest.raises(CannotListen, match=address):
            await store.range(b"a")
        await store.close()


async def test_copy_of_a_running_node_is_not_listened_to(tmp_path: Path) -> None:
    async with running_nodes(tmp_path) as nodes:
        await nodes.stores[1].put(b"a", b"1")
        copy = tmp_path / "copy"
        shutil.copytree(nodes.path(2), copy)
        at = here()
        change_node(copy, address=at, listen=at)
        twin = RaftStore(open_node(copy, settings=nodes.settings, bounds=IMPATIENT))
        # Or it is told of a commit of the other's, which was copied too early to have it.
        refused = "two processes claim to be node 2|the log was lost or cut"
        with pytest.raises((ClusterUnreachable, NodeStopped), match=refused):
            await twin.put(b"a", b"2")
        await twin.close()
        # The cluster went on, and the real node 2 with it.
        assert await nodes.stores[2].put(b"a", b"3") == 3


async def test_node_with_a_changed_secret_is_not_listened_to(tmp_path: Path) -> None:
    async with running_nodes(tmp_path) as nodes:
        await nodes.stop(3)
        (nodes.path(3) / "secret").write_text("another secret of some length\n")
        store = RaftStore(open_node(nodes.path(3), settings=nodes.settings, bounds=IMPATIENT))
        with pytest.raises(ClusterUnreachable, match="another cluster secret"):
            await store.range(b"a")
        await store.close()
        await nodes.stores[1].put(b"a", b"1")


async def test_node_of_one_cluster_is_not_listened_to_by_another(tmp_path: Path) -> None:
    async with running_nodes(tmp_path / "one") as one, running_nodes(tmp_path / "two") as two:
        await two.stop(3)
        shutil.copy(one.path(1) / "secret", two.path(3) / "secret")
        change_node(two.path(3), peers={"1": member_of(one), "3": here()})
        # Its own log knows better where its cluster is; the secret does not fit that.
        store = RaftStore(open_node(two.path(3), settings=two.settings, bounds=IMPATIENT))
        with pytest.raises(ClusterUnreachable):
            await store.put(b"a", b"1")
        await store.close()
        assert (await one.stores[1].range(b"a")).count == 0
        assert (await two.stores[1].range(b"a")).count == 0


async def test_node_that_moved_tells_the_others(tmp_path: Path) -> None:
    async with running_nodes(tmp_path) as nodes:
        await nodes.stop(3)
        at = here()
        change_node(nodes.path(3), address=at, listen=at)
        await nodes.start(3)
        leader = await nodes.leader()
        await nodes.until(lambda: leader.node.status().addresses[3] == at)
        await nodes.stores[3].put(b"a", b"1")


# --- addresses of stores ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "raft://host/folder",
        "raft:///",
        "raft:folder",
        "raft:///folder?read=local",
        "raft:///folder?reads=stale",
        "raft:///folder?timeout=soon",
        "raft:///folder?timeout=0s",
        "raft:///folder?reads=local&reads=local",
    ],
)
async def test_address_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(BadRaftUrl):
        open_store(url)

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from moreton.store.raft.folder import Node, NodeFolder, TlsFiles, make_folder, new_secret

WHO = Node("c1", 3, "host:1", "0.0.0.0:1", {1: "a:1", 3: "host:1"}, TlsFiles("c", "k", "a"))


def make(path: Path) -> NodeFolder:
    return make_folder(path, WHO, b"secret of some length", found=lambda log: log.mkdir())


def test_folder_says_who_lives_there(tmp_path: Path) -> None:
    make(tmp_path / "deep" / "node")
    assert NodeFolder(tmp_path / "deep" / "node").node() == WHO
    assert NodeFolder(tmp_path / "deep" / "node").secret() == b"secret of some length"


def test_folder_and_secret_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = make(tmp_path / "node")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder.path / "secret").stat().st_mode) == 0o600


def test_folder_whose_log_cannot_be_made_is_not_made_at_all(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise RuntimeError("no log")

    with pytest.raises(RuntimeError, match="no log"):
        make_folder(tmp_path / "node", WHO, b"secret", found=fail)
    assert list(tmp_path.iterdir()) == []


def test_addresses_of_the_others_are_remembered(tmp_path: Path) -> None:
    folder = make(tmp_path / "node")
    folder.remember_peers({1: "a:2", 3: "host:1", 4: "d:1"})
    assert folder.node().peers == {1: "a:2", 3: "host:1", 4: "d:1"}
    assert folder.node().address == WHO.address
    document = json.loads((folder.path / "node.json").read_text())
    assert list(document["peers"]) == ["1", "3", "4"]


def test_secrets_differ_and_are_long() -> None:
    secrets = {new_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert min(map(len, secrets)) >= 32

"""Our quorums and changes of configuration, held to etcd's own tests of them."""

from __future__ import annotations

from functools import partial

import pytest

from contract.etcd_raft.change_script import ChangeScript
from contract.etcd_raft.quorum_script import run_quorum
from moreton.sim.script import run_script
from support.etcd_raft import is_newer, need_etcd_raft

# The files and how many cases each has at least: a file that is read half would be no proof.
QUORUM = {
    "joint_commit": 50,
    "joint_vote": 39,
    "majority_commit": 16,
    "majority_vote": 22,
}
CHANGES = {
    "joint_autoleave": 4,
    "joint_idempotency": 3,
    "joint_learners_next": 3,
    "joint_safety": 15,
    "simple_idempotency": 11,
    "simple_promote_demote": 7,
    "simple_safety": 11,
    "update": 3,
    "zero": 1,
}


@pytest.mark.parametrize("name", QUORUM)
def test_quorums_decide_as_those_of_etcd(name: str) -> None:
    folder = need_etcd_raft()
    path = folder / "quorum" / "testdata" / f"{name}.txt"
    assert run_script(path, partial(run_quorum, newer=is_newer(folder))) >= QUORUM[name]


@pytest.mark.parametrize("name", CHANGES)
def test_configurations_change_as_those_of_etcd(name: str) -> None:
    folder = need_etcd_raft()
    path = folder / "confchange" / "testdata" / f"{name}.txt"
    assert run_script(path, ChangeScript(newer=is_newer(folder)).run) >= CHANGES[name]


def test_no_file_of_etcd_is_left_out() -> None:
    folder = need_etcd_raft()
    found = {
        part: {path.stem for path in (folder / part / "testdata").glob("*.txt")}
        for part in ("quorum", "confchange")
    }
    assert found == {"quorum": set(QUORUM), "confchange": set(CHANGES)}

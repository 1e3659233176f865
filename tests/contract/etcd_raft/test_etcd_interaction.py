"""Whole clusters of our nodes, run through etcd's own interaction files; the score is held."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from contract.etcd_raft.deviations import FILES, File
from contract.etcd_raft.parity import Case, run_file
from support.etcd_raft import ROOT, need_etcd_raft

PAGE = ROOT / "docs" / "reference" / "raft.md"
_ROW = re.compile(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \|", re.MULTILINE)


def known_file(name: str) -> Path:
    """The file, if it is the one that the deviations were judged by."""
    path = need_etcd_raft() / "testdata" / f"{name}.txt"
    if not path.exists() or not _digest(path).startswith(FILES[name].digest):
        pytest.skip(f"{path} is not the one of etcd 3.4.23: nobody has judged how we deviate")
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _differing(cases: list[Case], attribute: str) -> list[int]:
    return [case.command.line for case in cases if not getattr(case, attribute)]


@pytest.mark.parametrize("name", FILES)
def test_clusters_run_as_those_of_etcd_but_for_known_deviations(name: str) -> None:
    cases = list(run_file(known_file(name)))
    held = FILES[name]
    assert len(cases) == held.cases
    assert _differing(cases, "same_messages") == list(held.messages)
    assert _differing(cases, "same_state") == sorted(held.state)


def test_deviations_that_are_wrong_would_be_noticed() -> None:
    cases = list(run_file(known_file("campaign")))
    assert all(case.same_messages and case.same_state for case in cases)
    assert any("MsgVoteResp" in case.printed for case in cases)


def test_documented_scores_are_those_that_are_held() -> None:
    text = PAGE.read_text()
    rows = {name: tuple(map(int, numbers)) for name, *numbers in _ROW.findall(text)}
    assert rows == {name: _score(file) for name, file in FILES.items()}
    totals = tuple(map(sum, zip(*rows.values(), strict=True)))
    assert f"| together | {totals[0]} | {totals[1]} | {totals[2]} |" in text


def test_every_deviation_is_explained_in_the_documentation() -> None:
    text = PAGE.read_text().lower()
    given = [*(FILES[name].messages for name in FILES), *(FILES[name].state for name in FILES)]
    reasons = {reason for cases in given for why in cases.values() for reason in why}
    assert len(reasons) == 6
    assert not [reason for reason in reasons if f"**{reason}**" not in text]


def _score(file: File) -> tuple[int, int, int]:
    return file.cases, file.same_state, file.same_messages

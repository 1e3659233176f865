"""Writes that share a commit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from moreton.transactions.saga.ledgers.group import GroupCommit


def test_group_whose_leader_is_interrupted_is_written_by_the_next() -> None:
    written: list[str] = []
    interruptions = [KeyboardInterrupt()]

    def write_all(batch: Sequence[str]) -> None:
        if interruptions:
            raise interruptions.pop()
        written.extend(batch)

    group = GroupCommit[str](write_all)
    with pytest.raises(KeyboardInterrupt):
        group.commit_all(["a", "b"])  # as if "b" were another thread's
    group.commit("c")
    assert written == ["a", "b", "c"]

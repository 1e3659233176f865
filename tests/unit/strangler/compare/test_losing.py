"""A sample that is not known as a whole is counted where people look."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.serving.collector import Collector


def test_what_a_proxy_had_no_room_for_is_counted_as_dropped(tmp_path: Path) -> None:
    with closing(Collector(tmp_path / "kept.sqlite")) as collector:
        collector.lose("shop")
        collector.lose("shop")
        assert collector.counts() == {"shop": Counts(dropped=2)}

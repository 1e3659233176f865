"""Test files with servers are taken among those without."""

from __future__ import annotations

from itertools import groupby

from support.order import SERVERS, mixed


def test_every_file_is_taken_once_and_those_with_servers_stand_apart() -> None:
    servers = [("e2e", str(n)) for n in range(20)] + [("contract", str(n)) for n in range(10)]
    others = [("unit", str(n)) for n in range(200)]
    order = mixed([*servers, *others])
    assert sorted(order) == sorted([*servers, *others])
    assert [each for each in order if each[0] in SERVERS] == servers
    runs = [(own, len(list(files))) for own, files in groupby(order, lambda f: f[0] in SERVERS)]
    assert max(count for own, count in runs if own) == 1
    own, count = runs[-1]
    assert not own
    assert count >= 20


def test_files_of_one_kind_keep_their_order() -> None:
    only = [("unit", "b"), ("unit", "a")]
    assert mixed(only) == only
    assert mixed([]) == []

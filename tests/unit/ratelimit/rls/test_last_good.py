"""Rules that were good last, for a service that begins while moreton.yaml is bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from moreton.config import ConfigRefused
from moreton.ratelimit.rls.running.files import FollowedRules
from moreton.ratelimit.rls.stores import LocalStore

GOOD = "version: 1\nlimits: {api: {scope: exact, by: address, limit: 10/s}}\n"
BAD = GOOD.replace("10/s", "often")


def followed(folder: Path, text: str) -> FollowedRules:
    file = folder / "moreton.yaml"
    file.write_text(text)
    return FollowedRules(file, LocalStore(), folder / "good.json")


def test_a_service_that_begins_with_a_bad_file_holds_what_was_good_last(tmp_path: Path) -> None:
    assert set(followed(tmp_path, GOOD).begin().names) == {"api"}
    later = followed(tmp_path, BAD)
    assert set(later.begin().names) == {"api"}
    assert later.refused == 1
    assert later.read_if_changed() is None
    mended = GOOD.replace("api:", "orders:") + "# mended\n"
    (tmp_path / "moreton.yaml").unlink()
    (tmp_path / "moreton.yaml").write_text(mended)
    found = later.read_if_changed()
    assert found is not None
    assert set(found.names) == {"orders"}


def test_one_that_never_had_good_rules_is_refused_with_a_bad_file(tmp_path: Path) -> None:
    for kept in (None, "{", "", "[]"):
        if kept is not None:
            (tmp_path / "good.json").write_text(kept)
        with pytest.raises(ConfigRefused):
            followed(tmp_path, BAD).begin()


def test_good_rules_that_cannot_be_kept_are_held_and_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "good.json").mkdir()
    assert set(followed(tmp_path, GOOD).begin().names) == {"api"}
    assert {each.name for each in tmp_path.iterdir()} == {"good.json", "moreton.yaml"}


def test_the_good_rules_are_for_their_owner_alone(tmp_path: Path) -> None:
    followed(tmp_path, GOOD).begin()
    assert (tmp_path / "good.json").stat().st_mode & 0o777 == 0o600

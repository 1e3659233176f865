"""Files as editors and machines leave them: read, or refused with their place; never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from moreton.config import ConfigRefused, load_document


def refusal(path: Path) -> str:
    with pytest.raises(ConfigRefused) as caught:
        load_document(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["!!bool maybe", "!!int ''", "!!int '-'", "!!int abc", "!!float ''", "!!timestamp soon"],
)
def test_a_value_that_is_not_what_its_tag_says_is_refused_with_its_place(
    tmp_path: Path, value: str
) -> None:
    file = tmp_path / "moreton.yaml"
    file.write_text(f"version: 1\nenvoy: {value}\n")
    assert "(moreton.yaml:2:8)" in refusal(file)


def test_a_day_that_does_not_exist_is_told_as_one(tmp_path: Path) -> None:
    file = tmp_path / "moreton.yaml"
    file.write_text("name: 2026-02-30\n")
    assert "there is no such day" in refusal(file)


def test_what_editors_put_beside_the_files_of_a_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\n")
    (tmp_path / "b.yml").write_text("services: {}\n")
    (tmp_path / ".#a.yaml").symlink_to("user@host.123:456")  # Emacs, while a.yaml has changes
    (tmp_path / ".hidden.yml").write_text("- no mapping\n")
    assert load_document(tmp_path).data == {"version": 1, "services": {}}


def test_line_ends_and_a_mark_of_windows_are_read(tmp_path: Path) -> None:
    file = tmp_path / "moreton.yaml"
    file.write_bytes(b"\xef\xbb\xbfversion: 1\r\nservices:\r\n  a: {}\r\n")
    assert load_document(file).data == {"version": 1, "services": {"a": {}}}


def aliased(levels: int, times: int) -> str:
    """Anchors, each of which repeats the one before *times* times."""
    lines = ["l0: &l0 {a: 1}"]
    for level in range(1, levels):
        again = ", ".join([f"*l{level - 1}"] * times)
        lines.append(f"l{level}: &l{level} [{again}]")
    return "\n".join(lines)


def test_anchors_that_would_fill_the_memory_are_refused_with_their_place(tmp_path: Path) -> None:
    file = tmp_path / "moreton.yaml"
    file.write_text(aliased(levels=30, times=10))
    told = refusal(file)
    assert "aliases (`*name`) make " in told
    assert "values of the file's 32: not applied; repeat 100000 values at most" in told
    assert "(moreton.yaml:6:5)" in told


def test_anchors_may_be_repeated_by_thousands(tmp_path: Path) -> None:
    file = tmp_path / "moreton.yaml"
    file.write_text(aliased(levels=2, times=20_000))
    assert load_document(file).data["l1"] == [{"a": 1}] * 20_000


def test_an_alias_within_what_it_repeats_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "moreton.yaml"
    file.write_text("a: &a\n  b: [1, *a]\n")
    told = refusal(file)
    assert "an alias stands in what it repeats: not applied; write what is meant" in told
    assert "(moreton.yaml:1:4)" in told

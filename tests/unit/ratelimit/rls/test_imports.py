"""Files of envoyproxy/ratelimit are read as it reads them; what is wrong is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from moreton.config import ConfigRefused
from moreton.ratelimit.rls.imports import load

LIMIT = "rate_limit: {unit: second, requests_per_unit: 1}"
DAILY = "unit: day, requests_per_unit: 1"
SELF = "replaces: [name: n]"
BAD = [
    ("descriptors: []", "the file has no domain"),
    ("domain: ''", "the file has no domain"),
    ("- a", "a list is not a mapping"),
    ("domain: d\ndescriptors: [a, b]", "'a' is not a mapping"),
    ("domain: d\ndescriptors: {key: a}", "descriptors is a mapping"),
    ("0.25: d", "the key '0.25' is not text"),
    ("domain: d\ndescriptors:\n- value: a", "a descriptor has no key"),
    ("domain: d\ndescriptors:\n- {key: a, ratelimit: 1}", "'ratelimit' is not a known key"),
    (f"domain: d\ndescriptors:\n- {{key: a, {LIMIT}}}\n- {{key: a}}", "'a' is there twice"),
    (f"domain: d\ndescriptors:\n- {{key: a, value: b}}\n- {{key: a_b, {LIMIT}}}", "there twice"),
    ("domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: fortnight}}", "unit is 'fortnight'"),
    ("domain: d\ndescriptors:\n- {key: a, rate_limit: {unlimited: true, unit: day}}", "a unit of"),
    ("domain: d\ndescriptors:\n- {key: a, rate_limit: {unlimited: 3}}", "unlimited is '3'"),
    (
        "domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, requests_per_unit: -1}}",
        "requests_per_unit is '-1'",
    ),
    (
        "domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, requests_per_unit: 5e9}}",
        "requests_per_unit is '5e9'",
    ),
    (f"domain: d\ndescriptors:\n- {{key: a, share_threshold: true, {LIMIT}}}", "has no *"),
    (
        f"domain: d\ndescriptors:\n- {{key: a, rate_limit: {{{DAILY}, name: n, {SELF}}}}}",
        "'n' replaces itself",
    ),
    (
        f"domain: d\ndescriptors:\n- key: a\n  rate_limit: {{{DAILY}, replaces: [name: ]}}",
        "an entry without a name",
    ),
    ("domain: d\ndescriptors:\n- {key: a, value: 1.5}", "value is '1.5'"),
    ("'''", "this is not YAML"),
    ("", "is empty"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_what_envoyproxy_ratelimit_refuses_is_refused_with_its_place(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigRefused) as refused:
        load(tmp_path)
    assert words in str(refused.value)
    assert "bad.yaml" in str(refused.value)


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("domain: a\ndescriptors:\n- value: x\n- {key: b, keyy: 1}\n")
    (tmp_path / "b.yaml").write_text("domain: ''")
    with pytest.raises(ConfigRefused) as refused:
        load(tmp_path)
    assert len(refused.value.faults) == 3
    assert [str(one.where) for one in refused.value.faults[:2]] == ["a.yaml:3:3", "a.yaml:4:12"]


def test_a_domain_is_in_one_file_unless_they_are_merged(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"domain: d\ndescriptors:\n- {{key: a, {LIMIT}}}\n")
    (tmp_path / "b.yaml").write_text(f"domain: d\ndescriptors:\n- {{key: b*, {LIMIT}}}\n")
    with pytest.raises(ConfigRefused, match=r"is in a\.yaml and in b\.yaml"):
        load(tmp_path)
    node = load(tmp_path, merge=True).domains["d"]
    assert sorted(node.children) == ["a", "b*"]
    assert [name for name, _ in node.wildcards] == ["b*"]
    (tmp_path / "b.yaml").write_text(f"domain: d\ndescriptors:\n- {{key: a, {LIMIT}}}\n")
    with pytest.raises(ConfigRefused, match="descriptor 'a' of 'd'"):
        load(tmp_path, merge=True)


def test_values_are_the_text_that_is_written(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "domain: d\ndescriptors:\n"
        f"- {{key: status, value: 007, {LIMIT}}}\n- {{key: flag, value: yes, {LIMIT}}}\n"
    )
    assert sorted(load(file).domains["d"].children) == ["flag_yes", "status_007"]


def test_anchors_and_merges_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "domain: d\ndescriptors:\n- key: a\n  rate_limit: &slow {unit: day, requests_per_unit: 2}\n"
        "- {key: b, rate_limit: {<<: *slow, requests_per_unit: 3}}\n- {key: c, rate_limit: *slow}\n"
    )
    children = load(file).domains["d"].children
    found = {name: node.threshold for name, node in children.items()}
    assert [one and (one.count, one.unit) for one in found.values()] == [
        (2, "day"),
        (3, "day"),
        (2, "day"),
    ]


def test_anchors_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    lists = ["a0: &a0 [{key: k}]"]
    lists += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "a.yaml").write_text("domain: d\nmetadata:\n  " + "\n  ".join(lists))
    with pytest.raises(ConfigRefused, match="repeat 100000 values at most"):
        load(tmp_path)


def test_what_is_allowed_and_odd_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, requests_per_unit: 0}}\n"
        "- {key: b}\n- {key: c, rate_limit: {unit: day, requests_per_unit: 1, shadow_mode: true}}\n"
    )
    notes = [note.what for note in load(file).notes]
    assert notes == [
        "requests_per_unit is 0, which refuses everything",
        "the descriptor 'b' has no rate_limit",
        "'shadow_mode' says nothing here",
    ]

from __future__ import annotations

import json
import re

import pytest

from moreton.controlplane.sources.targets import TARGETS_MAX, instances_of, read_targets
from moreton.registry.core.standing import InstanceKind, InstanceSource
from moreton.registry.errors import InstanceNotValid

pytestmark = pytest.mark.slow


def test_targets_are_read_as_prometheus_does() -> None:
    groups = [
        {"targets": ["10.0.0.7:8001", "[fd00::1]:8001"], "labels": {"zone": "a", "team": "books"}},
        {"targets": ["10.0.0.8:8001"]},
    ]
    found = instances_of("shop", InstanceSource.FILE, read_targets(json.dumps(groups)))
    assert sorted(found) == ["file-10.0.0.7-8001", "file-10.0.0.8-8001", "file-fd00::1-8001"]
    first = found[min(found)]
    assert (first.zone, first.metadata, first.weight) == ("a", {"team": "books"}, 1)
    assert (first.kind, first.source) == (InstanceKind.PERSISTENT, InstanceSource.FILE)


def test_targets_are_read_as_yaml_too_and_labels_for_relabelling_are_left_out() -> None:
    text = (
        "- targets: ['10.0.0.7:80']\n"
        "  labels: {weight: '5', version: '2', __meta_x: y, __scheme__: https}\n"
    )
    (one,) = instances_of("shop", InstanceSource.FILE, read_targets(text)).values()
    assert (one.weight, one.version, one.metadata) == (5, "2", {})


@pytest.mark.parametrize("text", ["", "[]", "# nothing\n"])
def test_nothing_is_no_targets(text: str) -> None:
    assert read_targets(text) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[", "it is neither JSON nor YAML"),
        ("{}", "it is not a list of groups"),
        ("[1]", 'group 0 has no list "targets"'),
        ('[{"targets": []}, {"targets": "x"}]', 'group 1 has no list "targets"'),
        ('[{"targets": ["10.0.0.7"]}]', "group 0: '10.0.0.7' is not an address"),
        ('[{"targets": ["10.0.0.7:0"]}]', "group 0: port 0 does not exist"),
        ('[{"targets": [7]}]', "group 0: 7 is not an address"),
        (
            '[{"targets": [], "labels": []}, {"targets": [], "labels": [1]}]',
            "the labels of group 1",
        ),
        ('[{"targets": [], "labels": {"a": 1}}]', "the labels of group 0"),
        ('[{"targets": [], "labels": {"weight": "much"}}]', "the weight 'much' of group 0"),
        (json.dumps([{"targets": ["10.0.0.7:80"] * (TARGETS_MAX + 1)}]), "10001 targets"),
    ],
)
def test_targets_are_refused_with_their_place_when_they_cannot_be_meant(
    text: str, fault: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        read_targets(text)


def test_label_that_no_instance_can_have_is_refused() -> None:
    targets = read_targets('[{"targets": ["10.0.0.7:80"], "labels": {"weight": "99999"}}]')
    with pytest.raises(InstanceNotValid, match="weight 99999"):
        instances_of("shop", InstanceSource.FILE, targets)

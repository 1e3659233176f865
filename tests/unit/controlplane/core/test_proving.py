from __future__ import annotations

from moreton.controlplane.core.objects import Kind, ObjectKey
from moreton.controlplane.core.proving import Proving
from moreton.gateway.core.model import Service

A, B, C = (ObjectKey(Kind.ROUTE, name) for name in "abc")
OLD, NEW = Service("old"), Service("new")


def test_acknowledgement_proves_what_changed_up_to_its_version() -> None:
    proving = Proving()
    proving.published("table", "1", {A: None})
    proving.published("table", "2", {B: None})
    proving.published("table", "3", {C: None})
    assert proving.acknowledged("table", "2") == {A, B}
    assert list(proving.suspects("table")) == [C]
    assert proving.acknowledged("table", "3") == {C}
    assert list(proving.waiting()) == []


def test_object_changed_again_since_is_not_proven() -> None:
    proving = Proving()
    proving.published("table", "1", {A: None})
    proving.published("table", "2", {A: OLD})
    assert proving.acknowledged("table", "1") == set()
    assert proving.is_unproven("table", A)
    assert proving.acknowledged("table", "2") == {A}


def test_suspects_come_newest_first_with_their_last_good() -> None:
    proving = Proving()
    proving.published("table", "1", {A: OLD})
    proving.published("table", "2", {B: None, A: NEW})
    proving.published("table", "3", {C: None})
    assert proving.suspects("table") == {C: None, B: None, A: OLD}
    assert next(iter(proving.suspects("table"))) == C
    assert proving.suspects("table", "1") == {A: OLD}


def test_unknown_version_proves_and_suspects_nothing() -> None:
    proving = Proving()
    proving.published("table", "1", {A: OLD})
    assert proving.acknowledged("table", "other") == set()
    assert proving.suspects("table", "other") == {}
    assert proving.acknowledged("nothing", "1") == set()


def test_object_taken_back_is_a_suspect_no_more() -> None:
    proving = Proving()
    proving.published("table", "1", {A: OLD, B: None})
    proving.forget("table", [A])
    assert proving.suspects("table") == {B: None}


def test_many_unproven_publications_keep_every_suspect_and_a_bound() -> None:
    proving = Proving()
    keys = [ObjectKey(Kind.ROUTE, f"r{number}") for number in range(500)]
    for number, key in enumerate(keys):
        proving.published("table", str(number), {key: None, A: Service(f"v{number}")})
    assert proving.suspects("table").keys() == {*keys, A}
    assert proving.suspects("table")[A] == Service("v0")
    assert len(proving._unproven["table"]) <= 64
    assert proving.acknowledged("table", "499") == {*keys, A}

from __future__ import annotations

from pathlib import Path

import pytest

from moreton.config import ConfigRefused
from moreton.controlplane.assembly.sources import (
    check_beside_api,
    clash_sentence,
    definitions,
    parse_object,
)
from moreton.controlplane.core.clashes import ClashIndex
from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.objects import Kind, ObjectKey, Origin
from moreton.controlplane.settings import Settings, load_settings
from moreton.gateway.core.model import Route

BASE = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}]}}
services: {shop: {addresses: [127.0.0.1:8000]}}
routes:
  everything: {path: /*, to: shop}
"""
API_ROUTE = ObjectKey(Kind.ROUTE, "extra")


def settings_of(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "moreton.yaml"
    path.write_text(text)
    return load_settings(path)


@pytest.fixture
def desired(tmp_path: Path) -> Desired:
    desired = Desired()
    desired.replace_file(definitions(settings_of(tmp_path, BASE)))
    desired.put_object(API_ROUTE, parse_object(API_ROUTE, {"path": "/extra/*", "to": "shop"}))
    return desired


def test_definitions_know_their_place(tmp_path: Path) -> None:
    found = definitions(settings_of(tmp_path, BASE))[ObjectKey(Kind.ROUTE, "everything")]
    assert (found.origin, found.where) == (Origin.FILE, "moreton.yaml:6:3")


def test_edit_that_leaves_the_apis_objects_alone_passes(tmp_path: Path, desired: Desired) -> None:
    check_beside_api(settings_of(tmp_path, BASE), desired)


def test_edit_that_takes_a_service_from_a_route_of_the_api_is_refused(
    tmp_path: Path, desired: Desired
) -> None:
    edited = settings_of(tmp_path, BASE.replace("shop", "store"))
    with pytest.raises(ConfigRefused, match=r'service "shop" is gone, and route "extra"'):
        check_beside_api(edited, desired)


def test_edit_that_clashes_with_a_route_of_the_api_is_refused_with_its_place(
    tmp_path: Path, desired: Desired
) -> None:
    edited = settings_of(tmp_path, BASE + "  mine: {path: /extra/*, to: shop}\n")
    with pytest.raises(ConfigRefused, match=r'"mine" and "extra" of the API') as caught:
        check_beside_api(edited, desired)
    assert str(caught.value).endswith("(moreton.yaml:7:3)")


def test_edit_that_takes_over_a_name_of_the_api_passes(tmp_path: Path, desired: Desired) -> None:
    check_beside_api(settings_of(tmp_path, BASE + "  extra: {path: /extra/*, to: shop}\n"), desired)


def test_clash_names_the_other_route_and_its_place(desired: Desired) -> None:
    index = ClashIndex()
    for route in desired.routes():
        index.put(route)
    clashing = parse_object(ObjectKey(Kind.ROUTE, "mine"), {"path": "/*", "to": "shop"})
    assert isinstance(clashing, Route)
    others = index.clashing(clashing)
    assert others == ["everything"]
    sentence = clash_sentence(clashing, others, desired)
    assert '"everything" (moreton.yaml:6:3) with equal rank' in sentence
    index.remove("everything")
    assert index.clashing(clashing) == []


def test_route_does_not_clash_with_its_own_former_version(desired: Desired) -> None:
    index = ClashIndex()
    for route in desired.routes():
        index.put(route)
        index.put(route)
        assert index.clashing(route) == []

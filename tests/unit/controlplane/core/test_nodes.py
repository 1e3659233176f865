from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from moreton.controlplane.assembly.sources import definitions
from moreton.controlplane.core.fingerprints import digest_of, fingerprints
from moreton.controlplane.core.nodes import (
    Node,
    about_key,
    decode_node,
    decode_objects,
    differences,
    encode_node,
    is_about,
    is_objects,
    objects_key,
    parse_key,
)
from moreton.controlplane.settings import load_settings

pytestmark = pytest.mark.slow

CONFIGURATION = """
version: 1
gateways: {public: {listeners: [{address: "127.0.0.1:%s"}], max_connections: %s}}
services: {shop: {addresses: [127.0.0.1:8000]}, other: {addresses: [127.0.0.1:8001]}}
routes:
  everything: {path: /*, to: {shop: %s, other: 1}, methods: [GET, POST, PUT], timeout: 3s}
"""
PROGRAM = """
import sys, json
from pathlib import Path
from moreton.controlplane.assembly.sources import definitions
from moreton.controlplane.core.fingerprints import fingerprints
from moreton.controlplane.settings import load_settings
print(json.dumps(fingerprints(definitions(load_settings(Path(sys.argv[1]))))))
"""


def prints(
    folder: Path, *, port: int = 8080, connections: int = 9, weight: int = 1
) -> dict[str, str]:
    path = folder / "moreton.yaml"
    path.write_text(CONFIGURATION % (port, connections, weight))
    return fingerprints(definitions(load_settings(path)))


def test_fingerprints_are_the_same_in_another_process(tmp_path: Path) -> None:
    mine = prints(tmp_path)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "moreton.yaml")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(said.stdout) == mine
    assert set(mine) == {
        'gateway "public"',
        'service "shop"',
        'service "other"',
        'route "everything"',
    }


def test_fingerprints_tell_what_differs_and_not_where_a_machine_listens(tmp_path: Path) -> None:
    before = prints(tmp_path)
    assert prints(tmp_path, port=8081) == before
    changed = prints(tmp_path, weight=2)
    assert {name for name in before if changed[name] != before[name]} == {'route "everything"'}
    assert digest_of(changed) != digest_of(before)
    changed = prints(tmp_path, connections=10)
    assert {name for name in before if changed[name] != before[name]} == {'gateway "public"'}


def test_differences_say_which_node_has_what() -> None:
    same = {"route r": "1", "service s": "2"}
    assert differences({}) == ""
    assert differences({"a": same}) == ""
    assert differences({"a": same, "b": dict(same)}) == ""
    assert differences({"a": same, "b": {"service s": "2"}, "c": same}) == (
        "route r: a, c have it, b has none"
    )
    assert differences({"a": same, "b": {**same, "route r": "3"}, "c": same}) == (
        "route r: one on a, c, another on b"
    )
    assert differences({"a": same, "b": {**same, "route r": "3"}, "c": {"service s": "2"}}) == (
        "route r: one on a, another on b, c has none"
    )


def test_differences_are_few_and_count_the_rest() -> None:
    many = {f"route {number}": "1" for number in range(7)}
    said = differences({"a": many, "b": {}})
    assert said.count("a has it, b has none") == 3
    assert said.endswith("; and 4 more")


def test_node_is_read_back_whatever_a_later_version_adds() -> None:
    node = Node(
        "a", "home", pid=7, api="http://127.0.0.1:1", applied=12, rejected={"route r": "no"}
    )
    assert decode_node(encode_node(node)) == node
    later = json.dumps({"name": "a", "home": "home", "colour": "green"}).encode()
    assert decode_node(later) == Node("a", "home")
    assert decode_node(b"[]") is None
    assert decode_node(b"{}") is None
    assert decode_node(b"\xff") is None
    assert decode_objects(b"3") == {}


def test_keys_of_a_node_are_told_apart() -> None:
    name, what = parse_key(about_key("shop.1"))
    assert name == "shop.1"
    assert is_about(what)
    name, what = parse_key(objects_key("shop.1"))
    assert name == "shop.1"
    assert is_objects(what)
    assert not is_about(what)

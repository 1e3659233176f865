from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from moreton.cli.exits import Exit
from moreton.cli.main import _COMMANDS, application
from moreton.controlplane.errors import NotRunning

GOOD = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}]}}
services: {shop: {addresses: [127.0.0.1:8000]}, catalogue: {discover: true}}
routes:
  everything: {path: /*, to: shop}
  products: {path: /catalogue/*, methods: [GET], to: {shop: 90, catalogue: 10}}
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(application(arguments), arguments)


def unboxed(result: Result) -> str:
    return " ".join(result.output.replace("│", " ").split())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "moreton.yaml"
    path.write_text(GOOD)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in _COMMANDS if name != "demo"])
def test_command_has_help_with_examples(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == Exit.OK
    assert "Examples" in result.output
    assert f"moreton {name}" in result.output


# They run until stopped, or print what is for a program anyway.
WITHOUT_JSON = {"up", "run", "compare serve", "limits serve", "outbox relay", "outbox schema"}


def leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The commands of a group, and of the groups in it; else the command itself."""
    within = getattr(command, "commands", None)
    if within is None:
        yield name, command
        return
    for word, each in within.items():
        yield from leaves(f"{name} {word}", each)


@pytest.mark.parametrize("name", _COMMANDS)
def test_command_offers_json(name: str) -> None:
    found = get_command(application([name]))
    found = getattr(found, "commands", {}).get(name, found)
    for words, command in leaves(name, found):
        offered = any("--json" in option.opts for option in command.params)
        assert offered or words in WITHOUT_JSON, words


def test_check_counts_what_a_good_file_has(file: Path) -> None:
    result = call("check", str(file), "--json")
    assert result.exit_code == Exit.OK
    assert json.loads(result.output) == {
        "valid": True,
        "faults": [],
        "notes": [],
        "gateways": 1,
        "services": 2,
        "routes": 2,
    }


def test_check_says_that_nobody_reaches_routes_without_a_gateway(tmp_path: Path) -> None:
    path = tmp_path / "moreton.yaml"
    services = "services: {shop: {addresses: ['127.0.0.1:9']}}"
    path.write_text(f"version: 1\n{services}\nroutes: {{all: {{path: /*, to: shop}}}}\n")
    result = call("check", str(path))
    assert result.exit_code == Exit.OK
    assert "note: there is no gateway: nothing listens" in result.output
    advised = result.output.partition("add one, as ")[2]
    path.write_text(f"{path.read_text()}{advised}")
    assert "note:" not in call("check", str(path)).output
    path.write_text(f"version: 1\n{services}\n")
    assert "note:" not in call("check", str(path)).output, "a registry needs no gateway"


def test_check_tells_every_fault_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "moreton.yaml"
    path.write_text(GOOD.replace("to: shop}", "to: shpo}").replace("GET", "GTE!"))
    result = call("check", str(path), "--json")
    assert result.exit_code == Exit.CONFIGURATION
    found = json.loads(result.output)
    assert found["valid"] is False
    assert found["faults"]
    assert all(fault["line"] and fault["column"] and fault["todo"] for fault in found["faults"])


def test_schema_is_a_json_schema() -> None:
    result = call("schema")
    assert json.loads(result.output)["title"] == "moreton.yaml"


def test_explain_names_the_winner_and_why_others_lost(file: Path) -> None:
    result = call("explain", "POST", "/catalogue/7", "--config", str(file), "--json")
    assert result.exit_code == Exit.OK
    found = json.loads(result.output)
    assert found["winner"]["name"] == "everything"
    assert found["winner"]["where"] == "moreton.yaml:6:3"
    assert [miss["name"] for miss in found["near_misses"]] == ["products"]
    assert "method" in found["near_misses"][0]["lost_by"]


def test_explain_says_no_when_no_route_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "moreton.yaml"
    path.write_text(GOOD.replace("path: /*", "path: /only"))
    result = call("explain", "GET", "/other", "--config", str(path), "--offline")
    assert result.exit_code == Exit.NO
    assert "no route takes it" in result.output


@pytest.mark.parametrize("header", ["nonsense", ": empty"])
def test_explain_refuses_what_is_no_header(file: Path, header: str) -> None:
    result = call("explain", "GET", "/", "-H", header, "--config", str(file), "--offline")
    assert result.exit_code == Exit.USAGE
    assert "is not a header" in unboxed(result)


@pytest.mark.parametrize(
    ("monolith", "expected"),
    [
        ("8000", "addresses: [127.0.0.1:8000]"),
        ("http://10.0.0.7:9000/", "addresses: [10.0.0.7:9000]"),
        ("shop.internal", "addresses: [shop.internal:80]"),
        ("[::1]:8000", 'addresses: ["[::1]:8000"]'),
    ],
)
def test_init_writes_a_file_that_check_likes(tmp_path: Path, monolith: str, expected: str) -> None:
    path = tmp_path / "moreton.yaml"
    assert call("init", "--monolith", monolith, "--output", str(path)).exit_code == Exit.OK
    assert expected in path.read_text()
    assert call("check", str(path)).exit_code == Exit.OK


def test_init_does_not_overwrite(file: Path) -> None:
    result = call("init", "--monolith", "8000", "--output", str(file))
    assert result.exception is not None
    assert "is there already and is not overwritten" in str(result.exception)
    assert file.read_text() == GOOD


@pytest.mark.parametrize("monolith", ["https://shop.example", "http://", "a b:80", "host:99999"])
def test_init_refuses_what_is_no_address(tmp_path: Path, monolith: str) -> None:
    result = call("init", "--monolith", monolith, "--output", str(tmp_path / "m.yaml"))
    assert result.exit_code == Exit.USAGE


@pytest.mark.parametrize(
    "arguments", [["routes"], ["services"], ["instances"], ["status"], ["weights", "products"]]
)
def test_command_that_needs_a_control_plane_says_what_to_do_without_one(
    file: Path, arguments: list[str]
) -> None:
    file.unlink()  # with it, one that may begin is waited for
    result = call(*arguments, "--config", str(file))
    assert isinstance(result.exception, NotRunning)
    assert "start one with `moreton up`" in str(result.exception)


@pytest.mark.parametrize("words", [["shop"], ["shop=x"], ["=1"], ["shop=1", "shop=2"], ["a=-1"]])
def test_weights_refuses_what_is_no_weight(file: Path, words: list[str]) -> None:
    result = call("weights", "products", "--config", str(file), "--", *words)
    assert result.exit_code == Exit.USAGE
    assert "write SERVICE=WEIGHT" in unboxed(result)


def test_doctor_finds_envoy_ports_disk_clock_and_limits(file: Path) -> None:
    result = call("doctor", "--config", str(file), "--json")
    found = {each["check"]: each for each in json.loads(result.output)}
    assert {"versions", "envoy", "configuration", "disk", "clock", "file limit"} <= found.keys()
    assert found["envoy"]["level"] == "ok"
    assert found["service shop"]["level"] in {"ok", "warning"}


def test_version_is_told() -> None:
    assert call("--version").output.startswith("moreton ")


def test_schema_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    result = call("schema", "--output", str(tmp_path / "nowhere" / "schema.json"))
    assert result.exit_code == Exit.USAGE
    assert "cannot be written, no such file or directory" in unboxed(result)

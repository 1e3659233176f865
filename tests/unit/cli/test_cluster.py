"""The commands of a cluster where no process is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from moreton.cli.exits import Exit, guarded
from moreton.cli.main import application
from moreton.kernel.errors import MoretonError
from support.ports import free_port

COMMANDS = ["init", "join", "run", "status", "transfer", "leave", "snapshot", "restore"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(application(["cluster"]), ["cluster", *arguments])


def refusal(*arguments: str) -> MoretonError:
    found = call(*arguments).exception
    assert isinstance(found, MoretonError)
    return found


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.mark.parametrize("name", COMMANDS)
def test_command_teaches_by_examples_and_offers_json(name: str) -> None:
    shown = call(name, "--help").output
    assert f"moreton cluster {name}" in shown
    assert "--json" in shown


def test_init_says_what_to_do_next(tmp_path: Path, address: str) -> None:
    result = call("init", str(tmp_path / "node"), "--address", address)
    assert result.exit_code == Exit.OK
    assert f"moreton cluster run {tmp_path}/node" in result.output
    assert f"--member {address} --secret-file {tmp_path}/node/secret" in result.output


def test_init_prints_one_json_document_without_the_secret(tmp_path: Path, address: str) -> None:
    result = call("init", str(tmp_path / "node"), "--address", address, "--json")
    found = json.loads(result.output)
    assert (found["node"], found["address"]) == (1, address)
    assert found["store"] == f"raft:///{tmp_path}/node"
    secret = (tmp_path / "node" / "secret").read_text().strip()
    assert secret not in result.output


def test_secret_of_ones_own_is_taken(tmp_path: Path, address: str) -> None:
    file = tmp_path / "secret"
    file.write_text("a secret of my own\n")
    where = ("init", str(tmp_path / "node"), "--address", address)
    assert call(*where, "--secret-file", str(file)).exit_code == Exit.OK
    assert (tmp_path / "node" / "secret").read_text() == "a secret of my own\n"


def test_secret_file_that_holds_none_is_refused(tmp_path: Path, address: str) -> None:
    short = tmp_path / "short"
    short.write_text("short")
    for file, why in ((short, "5 bytes, 16 at least"), (tmp_path / "none", "no such file")):
        where = ("join", str(tmp_path / "node"), "--address", address, "--member", address)
        error = refusal(*where, "--secret-file", str(file))
        assert error.code == "cluster-secret-unreadable"
        assert why in str(error)
    assert not (tmp_path / "node").exists()


def test_a_part_of_tls_is_refused(tmp_path: Path, address: str) -> None:
    where = ("init", str(tmp_path / "node"), "--address", address)
    error = refusal(*where, "--tls-certificate", "node.pem")
    assert error.code == "cluster-tls-incomplete"


@pytest.mark.parametrize("name", ["status", "leave", "run"])
def test_folder_without_a_node_is_refused(name: str, tmp_path: Path) -> None:
    error = refusal(name, str(tmp_path))
    assert error.code == "cluster-not-a-node"
    assert "moreton cluster init" in str(error)


def test_answers_of_the_cluster_have_exit_statuses_of_their_own(tmp_path: Path) -> None:
    made = f"127.0.0.1:{free_port()}"
    call("init", str(tmp_path / "node"), "--address", made)
    status = guarded(
        lambda: application(["cluster"])(
            args=["cluster", "leave", str(tmp_path / "node")], standalone_mode=False
        )
    )
    assert status == Exit.NOT_RUNNING

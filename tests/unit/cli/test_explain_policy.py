from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from moreton.cli.main import application

TEXT = "policies:\n  careful: {total_timeout: 5s, retry: {attempts: 2}}\n"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(application(arguments), arguments)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "moreton.yaml"
    path.write_text(TEXT)
    return str(path)


def test_policy_is_explained_for_people_and_programs(config: str) -> None:
    told = call("explain", "--policy", "careful", "--config", config)
    assert told.exit_code == 0
    assert "one call makes at most 2 requests" in told.output
    assert "Envoy reads seconds and no dates" in told.output
    found = call("explain", "--policy", "careful", "--config", config, "--json")
    document = json.loads(found.output)
    assert document["requests_max"] == 2
    assert len(document["schedule"]) == 2
    assert document["envoy_cannot"]


def test_unknown_policy_and_missing_url_are_told(config: str) -> None:
    for arguments in (["explain", "--policy", "x", "--config", config], ["explain", "GET"]):
        found = call(*arguments)
        assert found.exit_code == 2

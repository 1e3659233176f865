"""`moreton migrate effects`, as people and as programs read it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moreton.cli.main import application
from moreton.strangler.agent import Effect, Effects, Kind
from moreton.strangler.agent.core.effects import general
from moreton.strangler.agent.sqlite import Tally


def test_files_below_the_current_directory_are_called_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tally = Tally(seen=2, wrote=2)
    for path in (f"{tmp_path}/media/a7.png", "/var/log/shop.log", f"{tmp_path}.old/b"):
        tally.add(Effect(Kind.FILE, f"write {general(path)}"), path, "")
    Effects(tmp_path / "effects.sqlite").add("", {"GET /": tally}, datetime.now(UTC))
    call = ["migrate", "effects", "GET /", "--file", "effects.sqlite"]
    shown = CliRunner().invoke(application(call), call, env={"COLUMNS": "1000"}).output
    assert "file write media/a#.png" in shown
    assert " media/a7.png" in shown
    assert "/var/log/shop.log" in shown
    assert f"{tmp_path}.old/b" in shown
    assert f"{tmp_path}/" not in shown
    (one,) = json.loads(CliRunner().invoke(application(call), [*call, "--json"]).output)[
        "endpoints"
    ]
    assert f"{tmp_path}/media/a7.png" in {each["example"] for each in one["effects"]}

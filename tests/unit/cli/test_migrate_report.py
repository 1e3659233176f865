"""`moreton migrate report` refuses what it cannot write, before it asks anybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from moreton.cli.migrate import migrate


@pytest.mark.parametrize("name", ["report.pdf", "report"])
def test_file_whose_ending_says_nothing_is_refused(name: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(
        migrate, ["report", "catalogue", "--out", str(tmp_path / name)], env={"COLUMNS": "200"}
    )
    assert found.exit_code == 2
    assert f"'{name}' does not say what to write" in found.output

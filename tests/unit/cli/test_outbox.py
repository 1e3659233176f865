"""`moreton outbox` where a word is wrong: nothing is made, and it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from moreton.cli.exits import Exit
from moreton.cli.main import application


def call(*arguments: str) -> Result:
    words = ("outbox", *arguments)
    return CliRunner().invoke(application(words), words)


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["dead", "list"],
        ["dead", "drop", "1"],
        ["resend", "orders", "--since", "1h"],
        ["skip-lost", "payments", "orders"],
    ],
)
def test_a_file_that_is_not_there_is_not_made(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*words, "--database", "sqlite:///typo.db")
    assert result.exit_code == Exit.USAGE
    assert "typo.db is not there" in result.output
    assert not list(tmp_path.iterdir())


def test_a_table_is_named_by_a_word(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    database = f"sqlite:///{tmp_path}/a.db"
    for words in (["status", "--database", database], ["schema", "--dialect", "sqlite"]):
        result = call(*words, "--table", "t (a); DROP TABLE t")
        assert result.exit_code == Exit.USAGE
        assert "table is 't (a); DROP TABLE t'" in result.output

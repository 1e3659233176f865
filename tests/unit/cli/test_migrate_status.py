"""`moreton migrate status` shows every migration, also one that nobody can read."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from moreton.cli.migrate import migrate
from moreton.controlplane.migrations.views import unreadable_document
from support.flaky import Answer, FlakyServer


def test_migration_that_cannot_be_read_is_in_the_list_and_told_of() -> None:
    fine = {"name": "a", "phase": "running", "stage": {"name": "half"}, "share": 0.5}
    with FlakyServer() as server:
        server.will(Answer(body=json.dumps([fine, unreadable_document("b")]).encode()))
        environment = {"MORETON_API": server.url, "MORETON_TOKEN": "t", "COLUMNS": "400"}
        found = CliRunner().invoke(migrate, ["status"], env=environment)
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["a", "running", "half", "50.0000%"],
        ["b", "unreadable"],
    ]
    assert 'the state of migration "b" in the store is damaged, or of a later version' in lines[3]

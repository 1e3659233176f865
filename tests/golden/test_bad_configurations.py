"""Bad configurations and exactly what is said of them.

Each case is a `moreton.yaml` (`check`), or one object that came by the API (`route`, `service`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from moreton.config import ConfigRefused
from moreton.controlplane.settings import load_settings, parse_route, parse_service
from moreton.sim.script import Command, Handler, run_script

FOLDER = Path(__file__).parent / "bad"
SCRIPTS = sorted(FOLDER.glob("*.txt"))
CASES_MIN = 60


def refused(command: Command, tmp_path: Path) -> ConfigRefused | None:
    try:
        if command.name == "check":
            path = tmp_path / "moreton.yaml"
            path.write_text(command.input)
            load_settings(path)
        elif command.name == "route":
            parse_route("r", json.loads(command.input))
        else:
            parse_service("s", json.loads(command.input))
    except ConfigRefused as error:
        return error
    return None


def said(command: Command, tmp_path: Path) -> str:
    error = refused(command, tmp_path)
    return "accepted" if error is None else str(error).replace(str(tmp_path), "FOLDER")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_bad_configuration_is_refused_in_these_words(
    script: Path, run_script: Callable[[Path, Handler], int], tmp_path: Path
) -> None:
    run_script(script, lambda command: said(command, tmp_path))


def test_every_message_says_where_and_what_to_do(tmp_path: Path) -> None:
    cases = 0

    def judge(command: Command) -> str:
        nonlocal cases
        cases += 1
        error = refused(command, tmp_path)
        assert error is not None, f"accepted: {command.input}"
        for fault in error.faults:
            assert fault.todo, fault
            assert fault.prevents, fault
            assert not str(fault).endswith("."), fault
            assert "\n" not in fault.todo, fault
            # Only a file as a whole, or an object that came by the API, has no place.
            assert fault.where or command.name != "check" or "moreton.yaml" in fault.what, fault
        return said(command, tmp_path)

    for script in SCRIPTS:
        run_script(script, judge)
    assert cases >= CASES_MIN

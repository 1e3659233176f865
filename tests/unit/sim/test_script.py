from __future__ import annotations

from pathlib import Path

import pytest

from moreton.sim.script import Command, ScriptMismatch, parse_command, read_script, run_script

SCRIPT = """# a comment
echo a=1 b=(x,y) word
first
----
word 1 x+y first

nothing
----

blank
----
----
one

two
----
----

echo a=2 b=z last
----
last 2 z
"""


def handle(command: Command) -> str:
    if command.name == "blank":
        return "one\n\ntwo\n"
    if command.name == "nothing":
        return ""
    parts = [*command.words, str(command.number("a")), "+".join(command.items("b"))]
    return " ".join([*parts, command.input] if command.input else parts)


def write(tmp_path: Path, text: str = SCRIPT) -> Path:
    path = tmp_path / "script.txt"
    path.write_text(text)
    return path


def test_script_runs_every_case(tmp_path: Path) -> None:
    assert run_script(write(tmp_path), handle) == 4


def test_script_shows_the_difference_and_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, SCRIPT.replace("last 2 z", "last 3 z"))
    with pytest.raises(ScriptMismatch, match=r"script.txt:19: echo(?s:.*)-last 3 z\n\+last 2 z"):
        run_script(path, handle)


def test_script_can_be_read_without_being_run(tmp_path: Path) -> None:
    cases = read_script(write(tmp_path))
    assert [command.line for command, _ in cases] == [2, 7, 10, 19]
    assert [expected for _, expected in cases][-2:] == ["one\n\ntwo", "last 2 z"]


def test_rewrite_accepts_what_was_printed_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, SCRIPT.replace("last 2 z", "wrong").replace("one\n\ntwo", "one"))
    run_script(path, handle, rewrite=True)
    assert path.read_text() == SCRIPT


def test_script_refuses_a_case_without_a_separator(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no line ----"):
        run_script(write(tmp_path, "echo a=1\n"), handle)


def test_command_has_words_options_and_lists() -> None:
    command = parse_command("send to=(2, 3) x")
    assert command.words == ("x",)
    assert command.items("to") == ["2", "3"]
    assert command.items("absent") == []
    assert command.number("n", 7) == 7
    with pytest.raises(ValueError, match="has no command"):
        parse_command("a=1")

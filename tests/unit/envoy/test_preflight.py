"""Checks by a program in the place of Envoy, which dies when the test says."""

from __future__ import annotations

from pathlib import Path

import pytest

from moreton.envoy.preflight import Preflight, PreflightFailed

REFUSED = "error initializing configuration 'x': no such thing"


def program(folder: Path, *ends: str) -> Path:
    """A program of which each run is the next of *ends*, the last one again and again."""
    file = folder / "envoy"
    cases = "".join(f"{number}) {end} ;;\n" for number, end in enumerate(ends[:-1]))
    file.write_text(
        "#!/bin/sh\n"
        'echo x >> "$0.runs"\n'
        'case $(($(wc -l < "$0.runs") - 1)) in\n'
        f"{cases}*) {ends[-1]} ;;\nesac\n"
    )
    file.chmod(0o755)
    return file


def runs(file: Path) -> int:
    return len(file.with_suffix(".runs").read_text().splitlines())


@pytest.mark.parametrize(
    ("ends", "said", "asked"),
    [
        (["echo fine"], "", 1),
        ([f'echo "{REFUSED}"; exit 1'], "no such thing", 1),
        (["kill -SEGV $$", "echo fine"], "", 2),
        (["kill -SEGV $$", f'echo "{REFUSED}"; exit 1'], "no such thing", 2),
        ([f'echo "{REFUSED}"; kill -SEGV $$'], "no such thing", 1),
        (["kill -SEGV $$"], "Envoy dies of SIGSEGV whenever it reads it, 3 times of 3", 3),
    ],
)
async def test_envoy_that_dies_is_asked_again(
    tmp_path: Path, ends: list[str], said: str, asked: int
) -> None:
    file = program(tmp_path, *ends)
    assert await Preflight(file)(b"{}") == said
    assert runs(file) == asked


async def test_temporary_folder_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = program(tmp_path, "echo fine")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(PreflightFailed, match=r"no such file or directory: the.*was not checked"):
        await Preflight(file)(b"{}")

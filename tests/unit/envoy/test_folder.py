"""Where an Envoy's sockets lie when its folder has too long a path, and who makes that place."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from moreton.envoy.process.folder import EnvoyFolder, EnvoyFolderUnusable


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's place for sockets."""
    with TemporaryDirectory(prefix="m-", dir="/tmp") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder of Envoy's whose path is too long for sockets."""
    return tmp_path / ("long" * 30) / "envoy"


def test_who_only_looks_for_sockets_makes_nothing(runtime: Path, path: Path) -> None:
    found = EnvoyFolder(path).sockets
    assert found.parent == runtime
    assert not list(runtime.iterdir())
    assert not path.exists()
    assert EnvoyFolder(path).make_sockets() == found


def test_sockets_are_made_for_their_owner_alone_and_found_again(
    runtime: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = EnvoyFolder(path).make_sockets()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert EnvoyFolder(path).sockets == place
    place.chmod(0o755)
    assert EnvoyFolder(path).make_sockets() == place
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert list(runtime.iterdir()) == [place]


def test_sockets_are_removed_and_looking_afterwards_makes_none(runtime: Path, path: Path) -> None:
    folder = EnvoyFolder(path)
    place = folder.make_sockets()
    (place / "admin.sock").touch()
    folder.remove_sockets()
    assert folder.sockets == place
    folder.remove_sockets()
    assert not list(runtime.iterdir())


@pytest.mark.usefixtures("runtime")
def test_place_that_cannot_be_ours_is_passed_over_by_both(path: Path) -> None:
    own = EnvoyFolder(path).sockets
    own.symlink_to(path.parent)  # somebody else's, by all that can be told
    folder = EnvoyFolder(path)
    try:
        assert folder.sockets.parent != own.parent
        assert folder.make_sockets() == EnvoyFolder(path).sockets != own
    finally:
        folder.remove_sockets()
    assert own.is_symlink()


@pytest.mark.usefixtures("runtime")
def test_nowhere_for_sockets_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moreton.envoy.process.folder.SOCKET_FOLDER_BYTES_MAX", 4)
    why = r"set controlplane\.state"
    with pytest.raises(EnvoyFolderUnusable, match=why):
        _ = EnvoyFolder(path).sockets
    with pytest.raises(EnvoyFolderUnusable, match=why):
        EnvoyFolder(path).make_sockets()

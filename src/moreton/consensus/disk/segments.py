"""The log's files: each begins with a header, is only added to, and goes as a whole.

Every segment starts with a frame that has the hard state, so the ones before it can go once a
snapshot covers their entries. The header, 128 bytes: magic, format u8 and seven zeros, segment
number u64, node u64, salt u32, checksum u32 at which the segment before ended, length u16 and the
cluster's name, zeros, and at its end a checksum u32.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from zlib import crc32

from moreton.consensus.disk.errors import FolderNewer, FolderOfAnother, LogDamaged
from moreton.consensus.disk.files import TEMPORARY, Files
from moreton.consensus.disk.frames import Chain, Damaged, Scanned, scan
from moreton.consensus.disk.identity import FORMAT, Identity

HEADER_BYTES = 128
_MAGIC = b"MORETONL"
_HEADER = Struct("<8sB7xQQIIH")
_SUFFIX = ".log"


@dataclass(frozen=True, slots=True)
class Segment:
    """What was read of one file."""

    path: Path
    number: int
    after: int  # the checksum at which the one before it must have ended
    scanned: Scanned


def segment_path(folder: Path, number: int) -> Path:
    """Where segment *number* is."""
    return folder / f"{number:016x}{_SUFFIX}"


def segment_paths(folder: Path) -> list[Path]:
    """All segments, in order."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def read_segment(path: Path, identity: Identity, files: Files) -> Segment:
    """What is in the segment, checked.

    Raises `LogDamaged`, `FolderOfAnother`, `FolderNewer`, `OSError`.
    """
    data = files.read(path)
    number, chain = _read_header(path, data, identity)
    if path.name != segment_path(path.parent, number).name:
        raise LogDamaged(path=path, offset=16, reason=f"it is segment {number} by its header")
    try:
        scanned = scan(data, HEADER_BYTES, chain)
    except Damaged as error:
        raise LogDamaged(path=path, offset=error.offset, reason=error.reason) from error
    if not scanned.payloads:
        raise LogDamaged(path=path, offset=HEADER_BYTES, reason="its first frame is missing")
    return Segment(path, number, chain.checksum, scanned)


class OpenSegment:
    """The segment that is written to."""

    def __init__(
        self,
        folder: Path,
        number: int,
        identity: Identity,
        *,
        after: int,
        first: bytes,
        files: Files,
    ) -> None:
        """Make it, durably, with *first* as its first frame; *after* is the checksum before it."""
        self.path = segment_path(folder, number)
        self.number = number
        self.highest = 0  # the highest index in it
        self._files = files
        self._chain = Chain(secrets.randbits(32), after)
        data = _header(number, identity, self._chain) + self._chain.seal(first)
        temporary = self.path.with_name(self.path.name + TEMPORARY)
        self._descriptor = files.create(temporary)
        try:
            files.write(self._descriptor, data)
            files.sync(self._descriptor)
            files.rename(temporary, self.path)
            files.sync_folder(folder)
        except BaseException:
            files.close(self._descriptor)
            raise
        self.size = len(data)

    @property
    def checksum(self) -> int:
        """At which it ends now."""
        return self._chain.checksum

    def append(self, payload: bytes, *, highest: int) -> None:
        """Add a frame, and return once it is on the disk itself."""
        frame = self._chain.seal(payload)
        self._files.write(self._descriptor, frame)
        self._files.sync(self._descriptor)
        self.size += len(frame)
        self.highest = max(self.highest, highest)

    def close(self) -> None:
        """Let go of the file."""
        self._files.close(self._descriptor)


def _header(number: int, identity: Identity, chain: Chain) -> bytes:
    cluster = identity.cluster.encode()
    fields = (_MAGIC, FORMAT, number, identity.node, chain.salt, chain.checksum, len(cluster))
    head = (_HEADER.pack(*fields) + cluster).ljust(HEADER_BYTES - 4, b"\0")
    return head + crc32(head).to_bytes(4, "little")


def _read_header(path: Path, data: bytes, identity: Identity) -> tuple[int, Chain]:
    head = data[:HEADER_BYTES]
    if len(head) < HEADER_BYTES or crc32(head[:-4]) != int.from_bytes(head[-4:], "little"):
        raise LogDamaged(path=path, offset=0, reason="the header's checksum does not match")
    magic, version, number, node, salt, checksum, length = _HEADER.unpack_from(head)
    if magic != _MAGIC:
        raise LogDamaged(path=path, offset=0, reason="it is not a segment of a log")
    if version > FORMAT:
        raise FolderNewer(path=path, found=version, supported=FORMAT)
    cluster = head[_HEADER.size : _HEADER.size + length].decode(errors="replace")
    if (cluster, node) != (identity.cluster, identity.node):
        found = f"node {node} of cluster {cluster}"
        raise FolderOfAnother(path=path, found=found, expected=str(identity))
    return number, Chain(salt, checksum)

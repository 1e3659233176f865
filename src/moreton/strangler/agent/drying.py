"""One dry run: what it does is taken back, whatever becomes of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from moreton.strangler.agent.recording import Recording, current, into

_LOG = logging.getLogger("moreton.agent")
# Of an answer that streams; a dry run's is made as a whole, before anything is taken back.
BODY_BYTES_MAX = 8 * 1024 * 1024
UNKNOWN_TARGET = "a dry run says in x-moreton-dry-run what is to be run: a method and a path"


class NotTakenBack(RuntimeError):
    """A dry run's transaction could not be rolled back as it should; it may have been committed."""


def is_dry_run() -> bool:
    """Whether what is done now is only tried: an application may leave out what stays elsewhere."""
    recording = current()
    return recording is not None and recording.dry


@contextmanager
def dry(recording: Recording) -> Iterator[None]:
    """What is done within belongs to *recording*, and is taken back at the end."""
    try:
        with into(recording):
            yield
    finally:
        take_back(recording)


def take_back(recording: Recording) -> None:
    """Undo what *recording*'s request did, last first; all of it, before anything is raised."""
    trouble: Exception | None = None
    while recording.undo:
        try:
            recording.undo.pop()()
        except Exception as error:  # noqa: BLE001 - the others have to be undone, too
            _LOG.exception("a dry run was not rolled back as it should be")
            trouble = error
    recording.taken_back.clear()
    if trouble is not None:
        raise NotTakenBack(str(trouble)) from trouble


def joined(parts: Iterator[bytes]) -> bytes:
    """The body of *parts*, no more than `BODY_BYTES_MAX` of it."""
    out: list[bytes] = []
    room = BODY_BYTES_MAX
    for part in parts:
        out.append(part[:room])
        room -= len(part)
        if room <= 0:
            break
    return b"".join(out)

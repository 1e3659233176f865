"""What a dry run may not do: whatever cannot be rolled back does not happen."""

from __future__ import annotations

from moreton.strangler.agent.core.effects import Kind
from moreton.strangler.agent.recording import Recording, current


class Blocked(ConnectionRefusedError):
    """A dry run was about to do something that cannot be taken back; to the application, an outage.

    It is an `OSError`, so that code that bears a refused connection bears this.
    """


def block(recording: Recording, kind: Kind, what: str) -> None:
    """Raise `Blocked` if *recording* is a dry run."""
    if recording.dry:
        recording.blocked.append(f"{kind} {what}")
        raise Blocked(f"a dry run does not do this: {kind} {what}")


def note(kind: Kind, what: str, example: str = "") -> None:
    """The request at hand does *what*, which cannot be rolled back: a dry run does not."""
    recording = current()
    if recording is not None:
        recording.note(kind, what, example)
        block(recording, kind, what)

"""What a dry run may not do: whatever cannot be rolled back does not happen."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.strangler.agent.core.effects import Kind
from moreton.strangler.agent.core.statements import ends_of
from moreton.strangler.agent.recording import Recording, current

# What a rollback takes back everywhere. Of all else, MySQL at least commits some by itself.
_TAKEN_BACK = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "LOCK"})
# They leave a gap in numbers.
_SEQUENCES = frozenset({"nextval", "setval", "lastval", "currval"})


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
        recording.write(f"{kind} {what}")
        block(recording, kind, what)


def block_sql(recording: Recording, found: Sequence[str], sql: str, *, is_taken_back: bool) -> None:
    """Raise `Blocked` for a statement of a dry run that no rollback takes back."""
    if not recording.dry:
        return
    ends = ends_of(sql)
    if ends:
        block(recording, Kind.SQL, ends)
    if found and not is_taken_back:
        block(recording, Kind.SQL, "of a connection that nobody rolls back")
    for one in found:
        verb, _, name = one.partition(" ")
        is_sequence = verb == "CALL" and name.lower().rstrip("()") in _SEQUENCES
        if verb not in _TAKEN_BACK and not is_sequence:
            block(recording, Kind.SQL, one)

"""What a dry run may not do: whatever cannot be rolled back does not happen."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.strangler.agent.core.effects import Kind
from moreton.strangler.agent.recording import Recording, current

# A transaction's end, and what needs none to stay: nothing of it can be rolled back.
_ENDS = frozenset({"COMMIT", "END", "ABORT", "BEGIN", "START", "PREPARE"})
# MySQL and Oracle commit before they define something, some of these everywhere.
_STAYS = frozenset(
    {"CREATE", "DROP", "ALTER", "TRUNCATE", "VACUUM", "PRAGMA", "SET", "ATTACH", "COPY", "RENAME",
     "GRANT", "REVOKE", "ANALYZE", "REINDEX", "LOAD", "an"}
)  # fmt: skip
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
    word = sql.lstrip("( \n\t").partition(" ")[0].rstrip(";").upper()
    ends = word in _ENDS or (word == "ROLLBACK" and "TO" not in sql.upper().split())
    if ends or (found and not is_taken_back):
        block(recording, Kind.SQL, word if ends else "of a connection that nobody rolls back")
    for one in found:
        verb, _, name = one.partition(" ")
        if verb in _STAYS or (verb == "CALL" and name.lower().rstrip("()") not in _SEQUENCES):
            block(recording, Kind.SQL, one)

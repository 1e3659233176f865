"""Access logs, replayed against rules: who would have been limited."""

from moreton.ratelimit.replay.lines import LINE_CHARS_MAX, Entry, NotALogLine, read_line
from moreton.ratelimit.replay.replaying import Outcome, Replay

__all__ = ["LINE_CHARS_MAX", "Entry", "NotALogLine", "Outcome", "Replay", "read_line"]

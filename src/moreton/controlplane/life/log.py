"""How the control plane logs: lines for people on a terminal, JSON otherwise.

Every module logs by the standard library, which this only gives a form: a library that does more
took 5 MiB and 0.2 s.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

# What every record has; the rest was given as `extra`.
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Lines(logging.Formatter):
    """A record as a line of JSON, its traceback within; or as one for a person."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def format(self, record: logging.LogRecord) -> str:
        """One line; for a person the traceback follows."""
        said = record.getMessage()
        level = record.levelname.lower()
        extra = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        at = datetime.fromtimestamp(record.created, UTC)
        if self._terminal:
            more = "".join(f" {name}={value}" for name, value in extra.items())
            line = f"{at.astimezone():%H:%M:%S} {level:<8} {said}{more}"
            return f"{line}\n{trace}" if trace else line
        fields = {"event": said, "level": level, "timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"}
        if trace:
            fields["exception"] = trace
        return json.dumps({**extra, **fields}, default=str)


def configure_logging(*, debug: bool = False) -> None:
    """Send this process's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(terminal=sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for noisy in ("uvicorn", "asyncio", "grpc", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

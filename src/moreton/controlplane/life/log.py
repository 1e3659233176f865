"""How the control plane logs: lines for people on a terminal, JSON otherwise.

Every module logs by the standard library; structlog gives all of it one form. It is loaded with
the first line that is logged, which is after the first request was served.
"""

from __future__ import annotations

import logging
import sys


class _Structured(logging.Formatter):
    """Hands every record to structlog."""

    def __init__(self) -> None:
        super().__init__()
        self._inner: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        if self._inner is None:
            self._inner = _formatter(terminal=sys.stderr.isatty())
        return self._inner.format(record)


def configure_logging(*, debug: bool = False) -> None:
    """Send this process's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Structured())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for noisy in ("uvicorn", "asyncio", "grpc", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _formatter(*, terminal: bool) -> logging.Formatter:
    import structlog  # noqa: PLC0415 - 0.2 s that the first request need not wait for

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    exceptions = [] if terminal else [structlog.processors.format_exc_info]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *exceptions,
            render,
        ],
    )

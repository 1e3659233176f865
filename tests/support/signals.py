"""Children of tests begin with the default of each signal, however the run itself was begun."""

from __future__ import annotations

import signal

# What `nohup`, and a script that starts the run by `&`, have ignored; children inherit just that.
_IGNORED_BY_STARTERS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def heed_in_children() -> None:
    """Go on ignoring what this process was told to ignore, but let its children not inherit it."""
    for number in _IGNORED_BY_STARTERS:
        if signal.getsignal(number) is signal.SIG_IGN:
            # What is handled, and not ignored, has its default again in a new program.
            signal.signal(number, lambda *_: None)

"""What can go wrong with differences that are kept."""

from __future__ import annotations

from moreton.kernel.errors import MoretonError


class DifferencesUnreadable(MoretonError):
    """The file of differences cannot be opened, read or written."""

    code = "differences-unreadable"


class NoSuchPair(MoretonError):
    """No pair of answers has this number, or not any more."""

    code = "no-such-pair"

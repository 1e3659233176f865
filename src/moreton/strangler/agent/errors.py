"""What can go wrong with evidence that is kept."""

from __future__ import annotations

from moreton.kernel.errors import MoretonError


class EffectsUnreadable(MoretonError):
    """The file of evidence cannot be opened, read or written."""

    code = "effects-unreadable"

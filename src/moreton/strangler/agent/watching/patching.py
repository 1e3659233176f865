"""Puts something around a method of a class that is not ours, once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

Around = Callable[..., Any]


def around(owner: Any, name: str, wrapper: Around) -> None:
    """Let *wrapper* be called with the method *name* of *owner*, itself, and its arguments.

    Does nothing where the class itself has no such method, or has ours already.
    """
    method = vars(owner).get(name)
    if not callable(method) or getattr(method, "is_watched_by_moreton", False):
        return

    @functools.wraps(method)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(method, self, *args, **kwargs)

    watched.is_watched_by_moreton = True  # type: ignore[attr-defined]
    setattr(owner, name, watched)

"""Errors of layers as errors of a library: who catches the library's catches them too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from moreton.kernel.errors import MoretonError
from moreton.resilience.errors import DeadlineExceeded, Refused

_made: dict[tuple[type, type], type[Exception]] = {}


def as_foreign(error: MoretonError, kind: type[Exception], **fields: Any) -> Exception:
    """*error* as an instance of its own class and of *kind*, with *fields* as attributes."""
    if isinstance(error, kind):
        return error
    both = _both(type(error), kind)
    # Not `__init__`: the two take different arguments.
    made: Exception = both.__new__(both)
    made.args = error.args
    vars(made).update(fields | vars(error))
    return made


@contextlib.contextmanager
def foreign(refused: type[Exception], late: type[Exception], **fields: Any) -> Iterator[None]:
    """Within: a refusal of a layer is a *refused* too, a deadline that passed a *late*."""
    try:
        yield
    except Refused as error:
        raise as_foreign(error, refused, **fields) from error
    except DeadlineExceeded as error:
        raise as_foreign(error, late, **fields) from error


def _both(own: type[MoretonError], kind: type[Exception]) -> type[Exception]:
    found = _made.get((own, kind))
    if found is None:
        names = {"__module__": own.__module__, "__doc__": own.__doc__}
        found = _made[own, kind] = type(own.__name__, (own, kind), names)
    return found

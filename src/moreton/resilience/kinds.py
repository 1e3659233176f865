"""Which errors are meant: classes of them, or a predicate."""

from __future__ import annotations

from collections.abc import Callable

Kinds = type[Exception] | tuple[type[Exception], ...] | Callable[[BaseException], bool]


def predicate(name: str, kinds: Kinds) -> Callable[[BaseException], bool]:
    """Whether an error is one of *kinds*, the argument *name*.

    Raises `TypeError` when *kinds* is neither, or holds what ends programs: classes that are no
    `Exception`.
    """
    if isinstance(kinds, type | tuple):
        classes = kinds if isinstance(kinds, tuple) else (kinds,)
        if not classes or not all(_is_exception(one) for one in classes):
            raise TypeError(
                f"{name} is {kinds!r}: give classes of exceptions; those that are no `Exception` "
                "end programs and are never dealt with"
            )
        return lambda error: isinstance(error, classes)
    if not callable(kinds):
        raise TypeError(f"{name} is {kinds!r}: give a class of exceptions, several, or a predicate")
    return kinds


def _is_exception(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, Exception)

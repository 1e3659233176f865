"""What is wrong with a configuration, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from moreton.kernel.errors import MoretonError


class Location(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """`moreton.yaml:14:9`."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: *what*, what it *prevents*, and what *todo* about it."""

    what: str
    todo: str
    where: Location | None = None
    prevents: str = "not applied"

    def __str__(self) -> str:
        """One line: `what: prevents; todo (file:line:column)`."""
        place = f" ({self.where})" if self.where is not None else ""
        return f"{self.what}: {self.prevents}; {self.todo}{place}"


class ConfigRefused(MoretonError):
    """A configuration with at least one fault; all of them are in *faults*."""

    code = "config-refused"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

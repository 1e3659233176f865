"""What keeps an order about a migration from being followed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from moreton.controlplane.errors import ControlPlaneError
from moreton.kernel.errors import RetryAdvice


class UnknownMigration(ControlPlaneError):
    """Neither moreton.yaml nor the store has it."""

    code = "migration-unknown"

    def __init__(self, *, name: str, known: Iterable[str]) -> None:
        close = difflib.get_close_matches(name, list(known), n=1)
        todo = f'write "{close[0]}"' if close else "define it under `migrations` in moreton.yaml"
        super().__init__(f'there is no migration "{name}": nothing was done; {todo}')


class MigrationRefuses(ControlPlaneError):
    """The order does not fit where the migration is."""

    code = "migration-refuses"

    def __init__(self, *, what: str, todo: str) -> None:
        super().__init__(f"{what}: nothing was done; {todo}")


class MigrationContended(ControlPlaneError):
    """Others changed the migration each time that it was tried."""

    code = "migration-contended"
    retry = RetryAdvice.NOW

    def __init__(self, *, name: str) -> None:
        super().__init__(
            f'others changed migration "{name}" meanwhile: nothing was changed; try again'
        )


class MigrationUnreadable(ControlPlaneError):
    """The store has a state of the migration that this version cannot read."""

    code = "migration-unreadable"

    def __init__(self, *, name: str) -> None:
        super().__init__(
            f'the state of migration "{name}" in the store is damaged, or of a later version: '
            "nobody moves its route, and nothing was done; run the version that wrote it, or "
            "give the migration another name in moreton.yaml to begin anew"
        )

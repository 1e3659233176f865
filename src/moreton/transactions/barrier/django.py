"""The barrier in a transaction of Django.

with transaction.atomic():
    if enter(call):
        Account.objects.filter(id=id).update(cents=F("cents") - cents)
"""

from __future__ import annotations

from typing import Any

from django.db import connections

from moreton.transactions.barrier.call import Call
from moreton.transactions.barrier.core import SCHEMA
from moreton.transactions.barrier.dbapi import Passage, Run, enter_by
from moreton.transactions.barrier.errors import NotInTransaction

__all__ = ["create_table", "enter"]


def enter(call: Call, *, using: str = "default") -> Passage:
    """As `moreton.transactions.barrier.enter`, within `atomic()` of the database *using*."""
    if not connections[using].in_atomic_block:
        raise NotInTransaction
    return enter_by(_runner(using), call)


def create_table(*, using: str = "default") -> None:
    """Make the barrier's table if it is not there; in a migration: `RunSQL(SCHEMA)`."""
    _runner(using)(SCHEMA, ())


def _runner(using: str) -> Run:
    def run(sql: str, values: tuple[object, ...]) -> Any:
        # Django takes `%s` for every database. The cursor ends with the request.
        cursor = connections[using].cursor()
        cursor.execute(sql.replace("?", "%s"), values)
        return cursor

    return run

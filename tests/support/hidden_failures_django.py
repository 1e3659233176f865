"""A Django project whose handlers hide that statements failed: a program.

`ENGINE NAME HOST`; it says what became of two transactions that failed, and of one that did not.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import django
from django.conf import settings

engine, name, host = sys.argv[1:]
settings.configure(
    DATABASES={
        "default": {"ENGINE": engine, "NAME": name, "HOST": host, "USER": "postgres"},
    }
)
django.setup()

from django.db import Error, connection, transaction  # noqa: E402

from moreton.transactions.outbox.places.django import DjangoPlace  # noqa: E402


def keep(n: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO kept VALUES (%s)", [n])


def fail() -> None:
    with contextlib.suppress(Error), connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")


def fail_in_a_block() -> None:
    with contextlib.suppress(ValueError), transaction.atomic(savepoint=False):
        raise ValueError


def is_fine() -> None:
    with contextlib.suppress(ValueError), transaction.atomic():
        raise ValueError


def tried(n: int, hidden: Callable[[], None]) -> str:
    try:
        with DjangoPlace().begin():
            keep(n)
            hidden()
    except Error as error:
        return type(error).__name__
    return "kept"


with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE kept (n int)")
print(tried(1, fail), tried(2, fail_in_a_block), tried(3, is_fine))
with connection.cursor() as cursor:
    cursor.execute("SELECT n FROM kept ORDER BY n")
    print([n for (n,) in cursor.fetchall()])

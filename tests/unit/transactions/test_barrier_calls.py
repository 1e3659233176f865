"""Calls: what can name a branch, and how a call travels."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from moreton.transactions.barrier import Act, Call

DJANGO = """
from django.conf import settings
engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
settings.configure(DATABASES={"default": engine})
import django; django.setup()
from django.db import connection, transaction
from moreton.transactions.barrier import Act, Call, NotInTransaction
from moreton.transactions.barrier.django import create_table, enter
create_table()
call = Call("t", "b", Act.DO)
try:
    enter(call)
except NotInTransaction:
    print("outside")
try:
    with transaction.atomic():
        print(enter(call).verdict)
        raise RuntimeError
except RuntimeError:
    pass
with transaction.atomic():
    passage = enter(call)
    passage.keep({"a": 1})
    print(passage.verdict)
with transaction.atomic():
    passage = enter(call)
    print(passage.verdict, passage.result)
"""


def test_a_call_travels_as_a_document() -> None:
    call = Call("t", "stock", Act.UNDO, {"fig": 2})
    assert Call.from_document(call.as_document()) == call


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="give 1 to 200 letters"):
        Call(name, "b", Act.DO)
    with pytest.raises(ValueError, match="give 1 to 200 letters"):
        Call("t", name, Act.DO)


@pytest.mark.parametrize(
    "document", [[], {}, {"transaction_id": "t", "branch": "b"},
                 {"transaction_id": "t", "branch": "b", "act": "redo"},
                 {"transaction_id": 7, "branch": "b", "act": "do"}],
)  # fmt: skip
def test_a_document_that_is_no_call_is_refused(document: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        Call.from_document(document)


@pytest.mark.slow
def test_the_barrier_is_one_line_in_django() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DJANGO], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == ["outside", "first", "first", "repeated {'a': 1}"], (
        done.stderr
    )

"""The troubles of a database that keeps records of transactions."""

from __future__ import annotations

from moreton.kernel.errors import RetryAdvice
from moreton.transactions.errors import TransactionError


class UnknownDatabaseUrl(TransactionError):
    """An address of a database that nothing here understands."""

    code = "transactions-unknown-url"

    def __init__(self, *, url: str) -> None:
        # An address may hold a password.
        scheme = url.partition(":")[0]
        super().__init__(
            f"an address that begins with {scheme!r} is not that of a database: nothing can be "
            "kept there; write sqlite:///relative/file, sqlite:////absolute/file or postgresql://…"
        )


class DriverMissing(TransactionError):
    """The library that speaks to the database is not installed."""

    code = "transactions-driver-missing"

    def __init__(self) -> None:
        super().__init__(
            "psycopg is not installed: PostgreSQL cannot be reached; "
            "install it with pip install 'moreton[postgres]'"
        )


class DatabaseUnavailable(TransactionError):
    """A database does not answer, or is held by others for too long."""

    code = "transactions-database-unavailable"
    retry = RetryAdvice.AFTER

    def __init__(self, *, database: str, reason: str) -> None:
        self.database = database
        super().__init__(
            f"{database} does not answer, {reason}: nothing was read or written, or it is not "
            "known; try again when it is back"
        )


class DatabaseRefused(TransactionError):
    """A database refuses a statement."""

    code = "transactions-database-refused"

    def __init__(self, *, database: str, reason: str) -> None:
        self.database = database
        super().__init__(
            f"{database} refuses a statement, {reason}: it did nothing; "
            "check the rights of its user, the space on its disk and the tables moreton_…"
        )


class DatabaseNotOpened(TransactionError):
    """An SQLite file cannot be opened or made."""

    code = "transactions-database-not-opened"

    def __init__(self, *, database: str, reason: str) -> None:
        self.database = database
        super().__init__(
            f"{database} cannot be opened, {reason}: nothing can be kept there; "
            "check the path and the rights of its folder"
        )

"""One small face of SQLite and PostgreSQL for the records of distributed transactions.

SQL is written once, with `?` for values and the types TEXT, BIGINT and BYTEA, which both take.
"""

from moreton.transactions.databases.database import Database, Session, open_database

__all__ = ["Database", "Session", "open_database"]

"""Where the tables are: an SQLite file, a PostgreSQL, or what Django and SQLAlchemy connect to."""

from moreton.transactions.outbox.places.opening import UNUSABLE, open_place
from moreton.transactions.outbox.places.place import Place, Work

__all__ = ["UNUSABLE", "Place", "Work", "open_place"]

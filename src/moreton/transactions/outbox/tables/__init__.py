"""The tables of outbox, inbox and built-in broker, for SQLite and PostgreSQL."""

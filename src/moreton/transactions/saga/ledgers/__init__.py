"""Where the logs of sagas are: one SQLite file, or a PostgreSQL database."""

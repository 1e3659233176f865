"""What running programs needs on disk and in the system: starting, remembering, logs, limits."""

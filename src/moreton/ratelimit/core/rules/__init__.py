"""Rules as values, and which of them a request is under: pure."""

"""Descriptors and what becomes of a request that has them: pure."""

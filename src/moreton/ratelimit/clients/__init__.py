"""Calls to third parties that wait their turn: one module for each HTTP client."""

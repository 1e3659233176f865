"""Comparisons of live traffic: what is copied, for whom, and what came of it."""

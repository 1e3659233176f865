"""Walks through two bodies at once, and finds where they part."""

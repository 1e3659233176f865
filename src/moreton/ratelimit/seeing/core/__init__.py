"""Counting many keys in little memory: pure."""

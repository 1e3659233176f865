"""The decisions of resilience: pure, told the time, given their randomness.

Time is in seconds of a monotonic clock, as floats: these run in every call, and an `Instant` costs
more than the rest of a decision (ADR 0007).
"""

"""The decisions of rate limiting: pure, told the time, integers only.

Time is in nanoseconds: of a monotonic clock, or of the calendar (since 1970, UTC) for limits whose
windows people read off a clock. A state is a row of 64-bit integers that a store keeps; all zero is
that of a key that was never seen.
"""

"""What elections and locks decide, without a clock, a loop or a store."""

"""What to do with transactions in doubt: pure."""

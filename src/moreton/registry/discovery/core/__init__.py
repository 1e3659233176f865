"""What discovery decides, without a clock, a socket or a thread."""

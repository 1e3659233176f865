"""One node of a simulated cluster: its host, disk and state machine."""

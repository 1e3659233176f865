"""Ring elections."""

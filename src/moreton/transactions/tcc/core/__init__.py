"""How a TCC transaction goes on: pure."""

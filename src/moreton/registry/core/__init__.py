"""The registry's values and machines: pure."""

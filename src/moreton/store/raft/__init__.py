"""The store as a cluster."""

"""What counts as a write, and what follows from those that were seen. Pure."""

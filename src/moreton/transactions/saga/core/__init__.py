"""The pure part of sagas: what a definition allows, and what follows from what happened."""

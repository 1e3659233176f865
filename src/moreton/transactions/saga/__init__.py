"""Sagas: business that several services do together, step by step, each undone if one fails."""

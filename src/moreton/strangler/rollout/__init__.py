"""Moves the requests of a route to a new service in steps that take themselves back."""

"""Migrations: routes whose requests move to another service in steps that take themselves back."""

"""`moreton demo`: a real shop behind Moreton, one route moved under load and taken back."""

from moreton.cli.demo.command import demo

__all__ = ["demo"]

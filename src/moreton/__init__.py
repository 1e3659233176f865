"""Moreton grows microservices around a running Python monolith, and then runs them."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("moreton")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]

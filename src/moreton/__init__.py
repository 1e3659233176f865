"""Moreton grows microservices around a running Python monolith, and then runs them."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # Asked for lazily: reading a package's metadata costs more than most imports of Moreton.
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        try:
            return version("moreton")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0.0.0"
    raise AttributeError(f"module 'moreton' has no attribute {name!r}")

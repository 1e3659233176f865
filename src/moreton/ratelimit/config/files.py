"""The files that limits need: places of addresses, and keys of tokens."""

from __future__ import annotations

import json
from pathlib import Path

_Problem = tuple[str, str]


def geoip_problem(file: Path) -> _Problem | None:
    """What is wrong with a file in the MaxMind format, and what to do."""
    try:
        import maxminddb  # noqa: PLC0415 - only those who ask for places have it
    except ImportError:
        return "no library reads MaxMind files", "install moreton[geoip]"
    try:
        with maxminddb.open_database(file):
            return None
    except FileNotFoundError:
        return f"there is no {file}", "give the path of a file, as of GeoLite2-Country.mmdb"
    except OSError as error:
        reason = error.strerror or str(error)
        return f"{file} cannot be read: {reason}", "check the path and its permissions"
    except (maxminddb.InvalidDatabaseError, ValueError):
        return f"{file} is not in the MaxMind format", "give a .mmdb file, which is not an archive"


def keys_problem(file: Path) -> _Problem | None:
    """What is wrong with a file of keys, PEM or JWKS, and what to do."""
    try:
        import jwt  # noqa: PLC0415 - only those who verify tokens have it
    except ImportError:
        return "no library verifies tokens", "install moreton[jwt]"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return f"there is no {file}", "give the path of a PEM public key or a JWKS"
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        return f"{file} cannot be read: {reason}", "check the path and its permissions"
    if text.lstrip().startswith("-----BEGIN PUBLIC KEY-----"):
        return None
    try:
        jwt.PyJWKSet.from_dict(json.loads(text))
    except (ValueError, TypeError, AttributeError, jwt.PyJWTError):
        return f"{file} is neither a PEM public key nor a JWKS", "give one of them"
    return None

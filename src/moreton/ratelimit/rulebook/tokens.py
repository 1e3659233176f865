"""What JWTs claim, once their signatures were verified."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from moreton.ratelimit.core.rules.values import Tokens

_REMEMBERED = 10_000
_TOKEN_CHARS_MAX = 16_384
# As long as one without an end is believed without looking again.
_TRUSTED_SECONDS = 300.0
_NOTHING: Mapping[str, str] = {}
_log = logging.getLogger("moreton.ratelimit")


class Verifier:
    """Reads claims by *tokens*; what is forged, out of date or no token at all claims nothing."""

    def __init__(self, tokens: Tokens, *, now: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._now = now
        self._known: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._lock = Lock()
        self._keys = _load(tokens.keys) if tokens.keys else {}

    def claims(self, value: str) -> Mapping[str, str]:
        """What the token in a header's *value* claims, by name; what is a list is joined."""
        scheme, space, rest = value.partition(" ")
        token = rest.strip() if space and scheme.lower() == "bearer" else value.strip()
        if not token or len(token) > _TOKEN_CHARS_MAX or token.count(".") != 2:
            return _NOTHING
        now = self._now()
        known = self._known.get(token)
        if known is not None and now < known[0]:
            return known[1]
        decoded = self._decode(token)
        claims = {name: text for name, one in decoded.items() if (text := _text(one))}
        until = decoded.get("exp", now + _TRUSTED_SECONDS)
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                self._known = {k: v for k, v in self._known.items() if now < v[0]}
            if len(self._known) < _REMEMBERED:
                self._known[token] = (min(float(until), now + _TRUSTED_SECONDS), claims)
        return claims

    def _decode(self, token: str) -> Mapping[str, Any]:
        import jwt  # noqa: PLC0415 - only those who verify tokens have it

        told = self._tokens
        try:
            if not told.keys:
                return jwt.decode(token, options={"verify_signature": False, "verify_exp": True})
            key = self._key(jwt.get_unverified_header(token))
            if key is None:
                return {}
            return jwt.decode(
                token,
                key=key,
                # That of the key: what the token says of its algorithm is the sender's word.
                algorithms=[key.algorithm_name],
                issuer=told.issuer or None,
                audience=told.audience or None,
                options={"verify_aud": bool(told.audience)},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return {}

    def _key(self, header: Mapping[str, Any]) -> Any:
        if len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(str(header.get("kid")))


def _load(file: str) -> dict[str, Any]:
    """The keys of *file*, by their ids; none, and a line in the log, when it cannot be read."""
    try:
        import jwt  # noqa: PLC0415 - as above

        text = Path(file).read_text(encoding="utf-8")
        if text.lstrip().startswith("-----BEGIN"):
            return {"": jwt.PyJWK.from_dict(_as_jwk(text))}
        found = jwt.PyJWKSet.from_dict(json.loads(text))
    except (ImportError, OSError, ValueError, TypeError, jwt.PyJWTError) as error:
        _log.warning("%s cannot be read, so that no token is believed: %s", file, error)
        return {}
    return {str(key.key_id or ""): key for key in found.keys}


def _as_jwk(pem: str) -> dict[str, Any]:
    import jwt  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_public_key,
    )

    key = load_pem_public_key(pem.encode())
    kinds: Any = jwt.algorithms
    if isinstance(key, rsa.RSAPublicKey):
        return {**kinds.RSAAlgorithm.to_jwk(key, as_dict=True), "alg": "RS256"}
    if isinstance(key, ec.EllipticCurvePublicKey):
        names = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
        jwk = kinds.ECAlgorithm.to_jwk(key, as_dict=True)
        return {**jwk, "alg": names.get(key.curve.name, "ES256")}
    return {**kinds.OKPAlgorithm.to_jwk(key, as_dict=True), "alg": "EdDSA"}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    return ""

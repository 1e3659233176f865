"""Tokens claim what their issuer signed, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from moreton.ratelimit.config.files import keys_problem
from moreton.ratelimit.core.rules.values import Tokens
from moreton.ratelimit.rulebook.tokens import Verifier

CLAIMS = {"sub": "ada", "scope": ["a", "b"], "admin": True, "n": 3, "nested": {"x": 1}}
READ = {"sub": "ada", "scope": "a b", "admin": "true", "n": "3"}
KINDS = {
    "RS256": lambda: rsa.generate_private_key(65_537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_pem_key_verifies_and_takes_no_other_algorithm(algorithm: str, tmp_path: Path) -> None:
    key: Any = KINDS[algorithm]()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file = tmp_path / "key.pem"
    file.write_bytes(pem)
    assert keys_problem(file) is None
    verifier = Verifier(Tokens(keys=str(file)))
    token = jwt.encode(CLAIMS, key, algorithm)
    assert verifier.claims(f"Bearer {token}") == READ
    assert verifier.claims(f"Bearer {token[:-6]}AAAAAA") == {}
    # Signed with what everyone knows, the public key, as if it were a secret.
    head = _encoded({"alg": "HS256", "typ": "JWT"}) + b"." + _encoded({"sub": "eve"})
    forged = head + b"." + _base64(hmac.new(pem, head, hashlib.sha256).digest())
    assert verifier.claims(f"Bearer {forged.decode()}") == {}


def test_a_token_is_believed_until_it_ends_and_not_longer() -> None:
    now = time.time()
    clock = [now]
    verifier = Verifier(Tokens(), now=lambda: clock[0])
    token = jwt.encode({"sub": "ada", "exp": int(now) + 60}, "x" * 32, "HS256")
    assert verifier.claims(token) == {"sub": "ada", "exp": str(int(now) + 60)}
    late = jwt.encode({"sub": "ada", "exp": int(now) - 60}, "x" * 32, "HS256")
    assert verifier.claims(late) == {}


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "a.b", "a.b.c", "é.é.é", "x" * 20_000])
def test_what_is_no_token_claims_nothing(value: str) -> None:
    assert Verifier(Tokens()).claims(value) == {}


def test_a_file_that_went_away_leaves_every_token_unbelieved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    verifier = Verifier(Tokens(keys=str(tmp_path / "gone.json")))
    assert verifier.claims(jwt.encode({"sub": "ada"}, "x" * 32, "HS256")) == {}
    assert "no token is believed" in caplog.text


def _encoded(part: dict[str, str]) -> bytes:
    return _base64(json.dumps(part).encode())


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")

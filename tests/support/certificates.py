"""Certificates made for one test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from moreton.gateway.core.model import TlsFiles


def make_certificate(folder: Path, host: str = "gateway.test") -> TlsFiles:
    """`cert.pem` and `key.pem` in *folder*: self-signed, for *host*, good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1))
    builder = builder.not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    files = TlsFiles(str(folder / "cert.pem"), str(folder / "key.pem"))
    Path(files.certificate).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    Path(files.key).write_bytes(private)
    return files

"""A key and a certificate that the members of one cluster show each other, made for it alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relufit.clusters import tls

if TYPE_CHECKING:
    from distributed import Security

#: How long a certificate holds; no cluster lives that long.
_DAYS = 30


@dataclass(frozen=True, repr=False)
class Pair:
    """A private key and its certificate, which is its own authority, in PEM."""

    certificate: str
    key: str

    def security(self) -> Security:
        """Return what Dask takes, for every role."""
        return _security(self.certificate, self.certificate, self.key)

    def write(self, files: Files) -> None:
        """Write both to files that their owner alone can read."""
        for path, text in ((files.ca_file, self.certificate), (files.cert, self.certificate), (files.key, self.key)):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)


@dataclass(frozen=True)
class Files:
    """Where an authority, a certificate and its key are."""

    ca_file: Path
    cert: Path
    key: Path

    def security(self) -> Security:
        """Return what Dask takes, for every role."""
        return _security(str(self.ca_file), str(self.cert), str(self.key))

    def options(self) -> dict[str, str]:
        """Return the paths under the names that the configuration has for them."""
        return {"ca_file": str(self.ca_file), "cert": str(self.cert), "key": str(self.key)}


def _security(authority: str, certificate: str, key: str) -> Security:
    # None in place of what Dask's configuration may say.
    return tls.security(authority, certificate, key, tls_ciphers=None, tls_min_version=None, tls_max_version=None)


def make(name: str) -> Pair:
    """Return a new pair for the cluster of that name: an elliptic key, which is short."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM).decode(), text.decode())

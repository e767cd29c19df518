"""TLS by an authority, a certificate and its key."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from relufit.errors import ConfigError
from relufit.files.paths import absolute

if TYPE_CHECKING:
    from distributed import Security


def security(authority: str, certificate: str, key: str, **settings: None) -> Security:
    """Return what Dask takes for TLS in every role, encryption required.

    Parameters
    ----------
    authority, certificate, key : str
        PEM, or paths of PEM files.
    **settings
        What is not to be taken from Dask's configuration, such as ``tls_ciphers=None``.
    """
    from distributed import Security

    parts = {"cert": certificate, "key": key}
    roles = {f"tls_{role}_{part}": value for role in ("client", "scheduler", "worker") for part, value in parts.items()}
    return Security(require_encryption=True, tls_ca_file=authority, **roles, **settings)


def read_security(files: Mapping[str, str], where: str) -> Security:
    """Return Dask's settings for TLS, after a look at the files.

    Parameters
    ----------
    files : dict
        ``ca_file``, ``cert`` and ``key``: paths of PEM files.
    where : str
        Their key in the configuration.

    Raises
    ------
    ConfigError
        If one cannot be read, or is not what it should be.
    """
    paths = {name: str(absolute(path)) for name, path in files.items()}
    for name, path in paths.items():
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read ({error.strerror})", where=f"{where}.{name}", remedy="give a PEM file"
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(paths["ca_file"])
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"{paths['ca_file']} holds no certificate", where=f"{where}.ca_file", remedy="give a PEM file"
        ) from error
    try:
        context.load_cert_chain(paths["cert"], paths["key"], password="")  # which keeps it from asking for one
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigError(
            f"{paths['cert']} and {paths['key']} are no certificate and its key",
            where=f"{where}.key",
            remedy="give two PEM files that belong together, the key without a password",
        ) from error
    return security(paths["ca_file"], paths["cert"], paths["key"])

"""How two members show each other that they know the secret of their run, without sending it.

Three messages, each with an HMAC-SHA256 whose key is the secret: the joiner's HELLO, the listener's CHALLENGE, the
joiner's PROOF. `docs/protocol.md` says what each of them prevents.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass

from relufit.errors import TransportError
from relufit.transport.frames import VERSION

TOKEN_BYTES = 32
NONCE_BYTES = 32
MAC_BYTES = 32
#: Bytes of what a member may say of itself, as JSON.
ABOUT_BYTES = 4096
HELLO_BYTES = CHALLENGE_BYTES = NONCE_BYTES + MAC_BYTES
PROOF_BYTES = MAC_BYTES + ABOUT_BYTES


def run_number(secret: bytes) -> int:
    """Return the number that all frames of a run carry; it tells nothing of the secret."""
    return int.from_bytes(hmac.digest(secret, b"relufit run number", "sha256")[:8], "little")


def new_nonce() -> bytes:
    """Return a number that is used once."""
    return secrets.token_bytes(NONCE_BYTES)


def split(body: bytes | memoryview, size: int) -> tuple[bytes, bytes]:
    """Return the first `size` bytes of a message, and the rest.

    Raises
    ------
    TransportError
        If it is shorter.
    """
    if len(body) < size:
        raise TransportError("a greeting that is too short")
    return bytes(body[:size]), bytes(body[size:])


@dataclass(frozen=True)
class Greeting:
    """One attempt of a rank to join, and the HMACs that belong to it.

    Parameters
    ----------
    secret : bytes
        Of the run.
    run, rank : int
        The number of the run, and the rank of the joiner.
    listener, joiner : str
        The addresses of the two ends of the connection, as `Connection.ends` gives them.
    joiner_nonce, listener_nonce : bytes
        The second is empty before the listener has answered.
    """

    secret: bytes
    run: int
    rank: int
    listener: str
    joiner: str
    joiner_nonce: bytes
    listener_nonce: bytes = b""

    def hello(self) -> bytes:
        """Return the HMAC of HELLO."""
        return self._mac(b"hello")

    def challenge(self) -> bytes:
        """Return the HMAC of CHALLENGE, by which the listener shows that it knows the secret."""
        return self._mac(b"listener")

    def proof(self, about: bytes) -> bytes:
        """Return the HMAC of PROOF, by which the joiner shows that it knows the secret and has said `about`."""
        return self._mac(b"joiner", about)

    def _mac(self, role: bytes, about: bytes = b"") -> bytes:
        parts = (
            b"relufit greeting",
            role,
            struct.pack("<BQI", VERSION, self.run, self.rank),
            self.listener.encode(),
            self.joiner.encode(),
            self.joiner_nonce,
            self.listener_nonce,
            about,
        )
        # With its length before each part, no two greetings give the same bytes.
        message = b"".join(struct.pack("<I", len(part)) + part for part in parts)
        return hmac.digest(self.secret, message, "sha256")


def check_mac(received: bytes, due: bytes) -> None:
    """Compare an HMAC with the one that is due, in a time that does not depend on either.

    Raises
    ------
    TransportError
        If they differ.
    """
    if not hmac.compare_digest(received, due):
        raise TransportError("a peer without the secret of this run")

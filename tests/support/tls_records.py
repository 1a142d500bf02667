"""Records of TLS 1.3 that no library sends: made with the secret that a client has agreed on."""

from __future__ import annotations

import hmac
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CIPHER, HASH, KEY_BYTES = "TLS_AES_256_GCM_SHA384", "sha384", 32
"""What OpenSSL agrees on with itself."""
HANDSHAKE, DATA = 22, 23
"""Types of content (RFC 8446, 5.1)."""
_KEY_UPDATE = 24


def logging_secrets(context: ssl.SSLContext, folder: Path) -> Path:
    """Have a context write the secrets of its sessions into a new file of a folder; return it."""
    path = folder / f"secrets-{len(list(folder.glob('secrets-*')))}"
    context.keylog_filename = str(path)
    return path


def secret_of(log: Path) -> bytes:
    """Return the first secret of what the last client that has logged there sends."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return bytes.fromhex([line[2] for line in lines if line[0] == "CLIENT_TRAFFIC_SECRET_0"][-1])


class Records:
    """Makes the records that a client sends after its handshake, of which it has sent none yet.

    Args:
        secret: its first traffic secret (RFC 8446, 7.2).
    """

    def __init__(self, secret: bytes) -> None:
        self._take(secret)

    def data(self, data: bytes, padding: int = 0) -> bytes:
        """Return a record of data, and of so many bytes that say nothing."""
        return self._record(data, DATA, padding)

    def key_update(self, *, requested: bool = False, padding: int = 0) -> bytes:
        """Return a KeyUpdate (RFC 8446, 4.6.3), which may ask for one of the other side."""
        update = bytes((_KEY_UPDATE, 0, 0, 1, requested))
        record = self._record(update, HANDSHAKE, padding)
        self._take(self._expanded(b"traffic upd", len(self._secret)))
        return record

    def _take(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._cipher = AESGCM(self._expanded(b"key", KEY_BYTES))
        self._start = int.from_bytes(self._expanded(b"iv", 12))

    def _expanded(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label without a context, of which one block is enough (RFC 8446, 7.1)."""
        label = b"tls13 " + label
        info = size.to_bytes(2) + bytes((len(label),)) + label + b"\0"
        return hmac.digest(self._secret, info + b"\1", HASH)[:size]

    def _record(self, content: bytes, kind: int, padding: int) -> bytes:
        inner = content + bytes((kind,)) + bytes(padding)
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
        nonce = (self._start ^ self._number).to_bytes(12)
        self._number += 1
        return header + self._cipher.encrypt(nonce, inner, header)

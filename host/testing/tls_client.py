"""A TLS client that can end its side and go on receiving, which `ssl.SSLSocket` cannot."""

from __future__ import annotations

import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

_READ_BYTES = 65_536
_RECORD_BYTES = 16_384
"""The most that one record carries (RFC 8446, 5.1)."""
_OPENSSL = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
    *("-days", "2", "-subj", "/CN=localhost"),
    *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"),
)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine's loopback addresses, valid for two days.

    Args:
        folder: where the files are made, `certificate.pem` and `key.pem`.

    Returns:
        The file with the certificate, and the one with its key.

    Raises:
        RuntimeError: the command openssl is not installed, or has failed.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [*_OPENSSL, "-keyout", str(key), "-out", str(certificate)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RuntimeError(
            "tests with TLS make their certificate with the command openssl, which is not"
            " installed: install it (Debian: openssl)"
        ) from error
    if done.returncode:
        raise RuntimeError(f"openssl has made no certificate: {done.stderr.strip()}")
    return certificate, key


class TlsClient:
    """The client's side of TLS over a connected socket, with the methods of one that peers need.

    `ssl.SSLSocket.shutdown` ends both directions. Here the session lies in memory, so that one
    direction can end (close_notify; RFC 8446, 6.1) while the other goes on. It has said hello when
    it is made, and `meet` waits for the server, which may not be there to answer yet.

    Args:
        sock: a connected socket with a time-out, which belongs to this object from now on.
        context: what the server's certificate is checked with.
        name: the name of the server, or its address.

    Raises:
        OSError: the hello cannot be sent. The caller closes the socket.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._sock = sock
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._records = b""
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_hostname=name)
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._flush()

    def meet(self) -> None:
        """Go through the handshake; this comes before all that is sent and received.

        Raises:
            OSError: it fails; `ssl.SSLError` is one.
        """
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()

    @property
    def pending(self) -> bool:
        """Whether more can be received that poll(2) does not tell of."""
        return bool(self._tls.pending() or self._arrived.pending)

    @property
    def unsent(self) -> bool:
        """Whether records wait that the socket has not taken yet."""
        return bool(self._records or self._leaving.pending)

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._sock.fileno()

    def settimeout(self, seconds: float | None) -> None:
        """Set the time-out of each call."""
        self._sock.settimeout(seconds)

    def setblocking(self, blocking: bool) -> None:
        """Say whether calls wait."""
        self._sock.setblocking(blocking)

    def sendall(self, data: bytes) -> None:
        """Send all of `data`."""
        self._tls.write(data)
        self._flush()

    def send(self, data: bytes | memoryview) -> int:
        """Send a record at most; return how many bytes it carries.

        Raises:
            BlockingIOError: the record before it has not gone yet.
        """
        self._flush()
        sent = self._tls.write(data[:_RECORD_BYTES])
        with suppress(BlockingIOError):
            self._flush()
        return sent

    def recv(self, size: int) -> bytes:
        """Receive `size` bytes at most; return none at the end that the server has told of.

        Raises:
            ConnectionResetError: the connection has ended, and the server did not say so.
        """
        with suppress(BlockingIOError):
            self._flush()
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._fill()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError as error:
                raise ConnectionResetError("cut: the server did not tell of its end") from error

    def shutdown(self, _how: int) -> None:
        """Tell the server that nothing more is sent (SHUT_WR)."""
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def close(self) -> None:
        """Close the socket; of a session that goes on the server is told its end, if it can be."""
        with suppress(OSError):
            self._sock.setblocking(False)
            self.shutdown(socket.SHUT_WR)
        self._sock.close()

    def _fill(self) -> None:
        """Receive records."""
        records = self._sock.recv(_READ_BYTES)
        if records:
            self._arrived.write(records)
        else:
            self._arrived.write_eof()

    def _flush(self) -> None:
        """Send records; what is not taken is kept."""
        self._records += self._leaving.read()
        while self._records:
            self._records = self._records[self._sock.send(self._records) :]

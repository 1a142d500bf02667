"""Values that plugins are handed: frozen, and without behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CloseReason(StrEnum):
    """Why a connection ended; each member's value is the words used in log lines."""

    PEER_FINISHED = "peer finished sending"
    PLUGIN = "closed by the plugin"
    RESET = "reset by the peer"
    TRUNCATED = "ended without close_notify"
    TLS_FAILED = "TLS protocol error"
    IDLE = "idle for too long"
    TIMEOUT = "not done in the time the plugin gave it"
    WRITE_TIMEOUT = "peer does not take what is sent"
    UNSENT_LIMIT = "too much unsent"
    WORKER_UNSENT_LIMIT = "too much unsent in this worker"
    PLUGIN_FAILED = "the plugin failed"
    DEADLINE = "still open at the drain deadline"
    OPERATOR = "closed by an operator"


@dataclass(frozen=True, slots=True)
class Listener:
    """One bound address and the plugin that serves it.

    Attributes:
        index: its number, 0 upwards, in the order of the settings.
        address: the bound address, `tcp://127.0.0.1:7000` or `unix:/run/x.sock`; never port 0.
        plugin: the name of the protocol plugin.
    """

    index: int
    address: str
    plugin: str


@dataclass(frozen=True, slots=True)
class ChildExit:
    """How a worker ended.

    Attributes:
        slot: its slot.
        pid: its process id, already reaped.
        generation: the generation it belonged to.
        exit_code: what it passed to exit, or None if a signal ended it.
        signal: the signal's number that ended it, or None. Both are None if a plugin in the
            supervisor has called waitpid(2) for all of its children.
        age_seconds: how long it lived.
        was_ready: whether it ever got ready to serve.
        expected: whether the host had asked it to go.
    """

    slot: int
    pid: int
    generation: int
    exit_code: int | None
    signal: int | None
    age_seconds: float
    was_ready: bool
    expected: bool


_TLV_ALPN, _TLV_AUTHORITY, _TLV_UNIQUE_ID, _TLV_SSL = 0x01, 0x02, 0x05, 0x20
_SSL_VERSION, _SSL_NAME, _SSL_CIPHER = 0x21, 0x22, 0x23
_SSL_USED, _SSL_CERTIFICATE = 0x01, 0x02 | 0x04
"""Bits of the first byte; a certificate was shown in this connection, or in this session."""
_SSL_FIXED_BYTES = 5
"""Those bits, and the result of the verification: 0 if the certificate is good."""


@dataclass(frozen=True, slots=True)
class ProxyTls:
    """What a proxy has agreed on with a client whose TLS ends at the proxy.

    Attributes:
        version: the version of the protocol, as the proxy writes it; None if it does not say.
        cipher: the name of the cipher suite, None if it does not say.
        common_name: the common name of the client's certificate, None if there is none or it does
            not say. It means nothing unless `verified`.
        verified: whether the client has shown a certificate, and the proxy takes it for good.
    """

    version: str | None
    cipher: str | None
    common_name: str | None
    verified: bool


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a proxy has said of a connection that it hands on, by the PROXY protocol.

    Attributes:
        version: 1 or 2.
        local: the proxy has named no client: the connection is its own (LOCAL, such as a health
            check), or it does not know whose it is (UNKNOWN).
        peer: the proxy's own address as text.
        source: the client's address as text, None if `local`.
        destination: where the client has connected to, None if `local`.
        tlvs: all else that it has said, as types and values (version 2, 2.2).
    """

    version: int
    local: bool
    peer: str
    source: str | None = None
    destination: str | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()

    def value(self, kind: int) -> bytes | None:
        """Return the first value of a type, None if there is none."""
        return next((value for each, value in self.tlvs if each == kind), None)

    @property
    def authority(self) -> str | None:
        """The host name that the client has asked the proxy for, such as by TLS."""
        value = self.value(_TLV_AUTHORITY)
        return None if value is None else value.decode("utf-8", "backslashreplace")

    @property
    def alpn(self) -> bytes | None:
        """The protocol above TLS that client and proxy have agreed on (RFC 7301)."""
        return self.value(_TLV_ALPN)

    @property
    def unique_id(self) -> bytes | None:
        """What names the connection, also in the proxy's log."""
        return self.value(_TLV_UNIQUE_ID)

    @property
    def tls(self) -> ProxyTls | None:
        """What the proxy has agreed on with the client (2.2.6); None without TLS, or if unsaid."""
        value = self.value(_TLV_SSL) or b""
        if len(value) < _SSL_FIXED_BYTES or not value[0] & _SSL_USED:
            return None
        said: dict[int, str] = {}
        at = _SSL_FIXED_BYTES
        while (start := at + 3) <= len(value):
            kind, at = value[at], start + int.from_bytes(value[at + 1 : start])
            if at <= len(value):
                said.setdefault(kind, value[start:at].decode("utf-8", "backslashreplace"))
        verified = bool(value[0] & _SSL_CERTIFICATE) and not any(value[1:_SSL_FIXED_BYTES])
        version, cipher = said.get(_SSL_VERSION), said.get(_SSL_CIPHER)
        return ProxyTls(version, cipher, said.get(_SSL_NAME), verified)


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What was agreed on in a TLS handshake.

    Attributes:
        version: the version of the protocol, as "TLSv1.3".
        cipher: the name of the cipher suite.
        alpn: the protocol that was agreed on (RFC 7301); None if the client has asked for none.
        server_name: the host name that the client has asked for (RFC 6066, 3); None for none.
        resumed: whether the client goes on with a session that it had before.
        peer_certificate: the client's certificate (DER), None if it has shown none. It is verified
            if the settings ask for certificates.
    """

    version: str
    cipher: str
    alpn: str | None
    server_name: str | None
    resumed: bool
    peer_certificate: bytes | None


@dataclass(frozen=True, slots=True)
class ConnectionOrigin:
    """What is known of the client of a connection before `on_accept`, and from `on_tls` on.

    Attributes:
        peer: the client as text: `127.0.0.1:50211`, `[::1]:50211`, or `unix`. Behind a proxy that
            names it, it is the one that the proxy has named.
        host: its IP address, None for a Unix socket.
        port: its port, None for a Unix socket.
        scope: the number of the interface that a link-local IPv6 address belongs to, 0 if there is
            none (ipv6(7)); None for other sockets.
        uid: the user of the process that has connected to a Unix socket (unix(7), SO_PEERCRED);
            None for other sockets.
        pid: that process; 0 if it is in another pid namespace.
        proxy: what the proxy has said that the connection came through, with its own address; None
            for a connection that did not have to come through one.
        tls: what was agreed on with the client; None for a connection without TLS.
    """

    peer: str
    host: str | None = None
    port: int | None = None
    scope: int | None = None
    uid: int | None = None
    pid: int | None = None
    proxy: ProxyHeader | None = None
    tls: TlsInfo | None = None

"""Certificates that tests make, and clients of TLS in memory."""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from host.settings import CertificateFiles, Tls
from host.tls.pem import Pem

EC, RSA = trustme.KeyType.ECDSA, trustme.KeyType.RSA


class Files(NamedTuple):
    """The files of a certificate."""

    certificate: Path
    key: Path

    def write(self, leaf: trustme.LeafCert) -> Files:
        """Put another certificate where this one is."""
        self.certificate.write_bytes(chain_of(leaf))
        self.key.write_bytes(leaf.private_key_pem.bytes())
        return self

    @property
    def settings(self) -> CertificateFiles:
        """As settings have it."""
        return CertificateFiles(certificate=str(self.certificate), key=str(self.key))

    @property
    def toml(self) -> str:
        """As a settings file has it."""
        return f'{{ certificate = "{self.certificate}", key = "{self.key}" }}'


class Authority:
    """Issues certificates into a folder, and configures clients that trust it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ca = folder, trustme.CA(key_type=EC)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.ca.cert_pem.bytes())

    def leaf(self, *names: str, key_type: trustme.KeyType = EC, days: float = 90, age: float = 1):
        """Issue a certificate that has been valid for `age` days and will be for `days`."""
        now = datetime.now(UTC)
        return self.ca.issue_cert(
            *names,
            key_type=key_type,
            not_before=now - timedelta(days=age),
            not_after=now + timedelta(days=days),
        )

    def files(self, stem: str, *names: str, **how) -> Files:
        """Issue a certificate into STEM.pem and STEM.key."""
        files = Files(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        return files.write(self.leaf(*(names or (f"{stem}.example",)), **how))

    def renewed(self, files: Files, *names: str) -> bytes:
        """Issue a certificate for other names with the key that there is; return it in PEM."""
        old = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        new = x509.CertificateBuilder(
            old.issuer,
            old.subject,
            old.public_key(),
            x509.random_serial_number(),
            old.not_valid_before_utc,
            old.not_valid_after_utc,
        )
        for each in old.extensions:
            value = each.value
            if isinstance(value, x509.SubjectAlternativeName):
                value = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            new = new.add_extension(value, each.critical)
        key = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        return new.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def client(self, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.file))
        if certificate is not None:
            certificate.configure_cert(context)
        return context


def chain_of(leaf: trustme.LeafCert) -> bytes:
    """Return a certificate with those that follow it."""
    return b"".join(each.bytes() for each in leaf.cert_chain_pems)


def pem_of(leaf: trustme.LeafCert) -> Pem:
    """Return a certificate as the host keeps it."""
    return Pem(chain_of(leaf), leaf.private_key_pem.bytes())


def table(*files: Files, **settings) -> Tls:
    """Return the settings of a table with these certificates."""
    return Tls(certificates=tuple(each.settings for each in files), **settings)


class Met(NamedTuple):
    """What a client in memory has got.

    Attributes:
        names: the names of the certificate that it was shown.
        version, cipher: what was agreed on.
        alpn: the protocol that was agreed on.
        resumed: whether an earlier session was resumed.
        session: what may be resumed.
        peer: the subject of its own certificate, as the server has seen it.
    """

    names: tuple[str, ...]
    version: str
    cipher: str
    alpn: str | None
    resumed: bool
    session: ssl.SSLSession | None
    peer: dict | None


def meet(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    name: str | None,
    session: ssl.SSLSession | None = None,
) -> Met:
    """Have a client meet a server in memory.

    Raises:
        ssl.SSLError: one of them has refused; that of the server if it is the one.
    """
    ends = [ssl.MemoryBIO() for _ in range(4)]
    asks = client.wrap_bio(ends[0], ends[1], server_hostname=name, session=session)
    answers = server.wrap_bio(ends[2], ends[3], server_side=True)
    for _ in range(5):
        for side in (answers, asks):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
            ends[2].write(ends[1].read())
            ends[0].write(ends[3].read())
    answers.write(b"x")  # the tickets of TLS 1.3 come before it
    ends[0].write(ends[3].read())
    assert asks.read(1) == b"x"
    found = asks.getpeercert() or {}
    names = tuple(value for _, value in found.get("subjectAltName", ()))
    cipher, version = asks.cipher(), asks.version()
    assert cipher
    assert version
    alpn = asks.selected_alpn_protocol()
    return Met(
        names,
        version,
        cipher[0],
        alpn,
        bool(asks.session_reused),
        asks.session,
        answers.getpeercert(),
    )

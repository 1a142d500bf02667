"""Examines a certificate: whether it can be used, and what it says."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from host.tls.pem import CertificateError, Pem, Place, certificates_in, load_into

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL (X509_VERIFY_PARAM_set_flags(3)), which `ssl` has no name
for: one that has expired is still to be looked at."""
_DAY_SECONDS = 86400.0
_WARNING_DAYS = 21.0
_OTHER_KEY = ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""Reasons of OpenSSL for a key that is that of another certificate: of the same type, and of a type
for which there is no certificate (SSL_CTX_check_private_key(3))."""
_TURNS = 4
"""How often each side of a handshake has its turn at most: TLS 1.2 takes two."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says; nothing of it is secret.

    Attributes:
        names: the host names that it is for, in lower case.
        not_before, not_after: from when and until when it counts, in seconds since the epoch.
        fingerprint: the SHA-256 of its DER, in hexadecimal digits.
        key_type: `EC` or `RSA`.
    """

    names: tuple[str, ...]
    not_before: float
    not_after: float
    fingerprint: str
    key_type: str

    @property
    def expiry(self) -> str:
        """When it expires, in the form of RFC 3339."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.not_after))

    def days_left(self, now: float) -> float:
        """Return in how many days it expires; `now` is in seconds since the epoch."""
        return (self.not_after - now) / _DAY_SECONDS

    def expires_soon(self, now: float) -> bool:
        """Tell whether it should have been replaced: 21 days before, or a third of its life."""
        lifetime = (self.not_after - self.not_before) / _DAY_SECONDS
        return self.days_left(now) < min(_WARNING_DAYS, lifetime / 3)

    def is_early(self, now: float) -> bool:
        """Tell whether it does not count yet."""
        return now < self.not_before

    def validity(self, now: float) -> str:
        """Say until when it counts, as the end of a sentence about it."""
        if self.is_early(now):
            return f"is not valid before {_date(self.not_before)}"
        if now > self.not_after:
            return f"has expired on {_date(self.not_after)}"
        return f"expires on {_date(self.not_after)}, in {self.days_left(now):.0f} days"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def examine(pem: Pem, place: Place) -> Certificate:
    """Load a certificate, try it with a client in memory, and return what it says.

    Args:
        pem: the certificate and its key.
        place: where it comes from, for errors.

    Raises:
        CertificateError: it cannot be used.
    """
    chain = certificates_in(pem.chain)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load_into(server, pem)
    except ssl.SSLError as error:
        raise _unusable(error, pem, place) from None
    except ValueError:  # a password of more than 1,024 bytes
        raise place.error("key_password_file", "the password is too long") from None
    try:
        leaf = ssl.PEM_cert_to_DER_cert(chain[0].decode("ascii"))
        cipher, says = _meet(server, leaf)
    except (ssl.SSLError, ValueError) as error:
        detail = getattr(error, "verify_message", "") or getattr(error, "reason", "") or "bad PEM"
        raise place.error("certificate", f"no client can use it: {detail}") from None
    _check_order(says, chain[1:], place)
    return Certificate(
        _names(says),
        float(ssl.cert_time_to_seconds(says["notBefore"])),
        float(ssl.cert_time_to_seconds(says["notAfter"])),
        hashlib.sha256(leaf).hexdigest(),
        "RSA" if "-RSA-" in cipher else "EC",
    )


def _meet(server: ssl.SSLContext, leaf: bytes) -> tuple[str, dict[str, Any]]:
    """Have a client meet the server in memory; return the cipher and what the certificate says.

    Of TLS 1.2 the name of a cipher tells the type of the key.

    Raises:
        ssl.SSLError: the client refuses the certificate.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    client.load_verify_locations(cadata=leaf)
    ends = [ssl.MemoryBIO() for _ in range(4)]
    asks = client.wrap_bio(ends[0], ends[1])
    answers = server.wrap_bio(ends[2], ends[3], server_side=True)
    for _ in range(_TURNS):
        for side in (asks, answers):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
            ends[2].write(ends[1].read())
            ends[0].write(ends[3].read())
    cipher, says = asks.cipher(), asks.getpeercert()
    assert cipher is not None
    assert says
    return cipher[0], dict(says)


def _names(says: dict[str, Any]) -> tuple[str, ...]:
    """Return the host names of a certificate; without any, its common name (RFC 6125, 6.4.4)."""
    names = [value for kind, value in says.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        parts = [pair for part in says.get("subject", ()) for pair in part]
        names = [value for kind, value in parts if kind == "commonName"]
    return tuple(dict.fromkeys(name.lower() for name in names))


def _check_order(leaf: dict[str, Any], others: Sequence[bytes], place: Place) -> None:
    """Check that each certificate is followed by that of its issuer (RFC 8446, 4.4.2).

    Raises:
        CertificateError: one is not.
    """
    before = leaf
    for number, pem in enumerate(others, 2):
        says = _authority(pem, number, place)
        if before["issuer"] != says["subject"]:
            raise place.error(
                "certificate",
                f"certificate {number - 1} in it is not followed by that of its issuer: put them in"
                " order, the host's own first (certbot calls the file fullchain.pem)",
            )
        before = says


def _authority(pem: bytes, number: int, place: Place) -> dict[str, Any]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise place.error("certificate", f"number {number} in it is no certificate") from None
    found = context.get_ca_certs()
    if not found:
        raise place.error(
            "certificate",
            f"certificate {number} in it is not of an authority, and only the first may be that of"
            " a host",
        )
    return dict(found[0])


def _unusable(error: ssl.SSLError, pem: Pem, place: Place) -> CertificateError:
    """Say why OpenSSL does not take a certificate and its key."""
    if error.reason in _OTHER_KEY:
        if _is_reversed(pem):
            cause = "it is in the wrong order: the certificate that the key belongs to comes first"
            return place.error("certificate", cause)
        cause = "the key does not fit the certificate: it is that of another one"
        return place.error("key", cause)
    if b"ENCRYPTED" in pem.key:
        if not pem.password:
            return place.error(
                "key", "it is encrypted: say where its password is, with key_password_file"
            )
        return place.error("key_password_file", "the password does not open the key")
    if b"PRIVATE KEY-----" not in pem.key:
        cause = "it has no private key in PEM, which begins with -----BEGIN PRIVATE KEY-----"
        return place.error("key", cause)
    reason = (error.reason or "it cannot be read").replace("_", " ").lower()
    return place.error("certificate", f"OpenSSL does not take it with its key: {reason}")


def _is_reversed(pem: Pem) -> bool:
    """Tell whether the key fits a certificate of the chain that is not the first."""
    for each in certificates_in(pem.chain)[1:]:
        try:
            load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Pem(each, pem.key, pem.password))
        except ssl.SSLError:
            continue
        return True
    return False

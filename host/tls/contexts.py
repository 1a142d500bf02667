"""The contexts of one table [tls.NAME]: which certificate a client gets, and how it is replaced."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from host.settings import Tls
from host.tls.certificate import Certificate
from host.tls.pem import CertificateError, Pem, PemSet, Place, load_into, places
from host.tls.session import NamedObject

# https://wiki.mozilla.org/Security/Server_Side_TLS, version 5.7. Its three ciphers with
# DHE are left out: they need parameters of their own, and who speaks TLS 1.2 knows ECDHE.
_INTERMEDIATE = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)
_DEMANDS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which context a client gets, by the name that it asks for."""

    exact: Mapping[str, ssl.SSLContext]
    wildcards: Mapping[str, ssl.SSLContext]
    first: ssl.SSLContext | None = field(repr=False)

    def find(self, name: str | None) -> ssl.SSLContext | None:
        """Return the context for a name; None if that is refused."""
        if name:
            name = name.lower()
            found = self.exact.get(name) or self.wildcards.get(name.partition(".")[2])
            if found is not None:
                return found
        return self.first


class ServerContext:
    """What the sessions of one table [tls.NAME] are made from, in each worker that is forked.

    `front` has no certificate. It puts in the context of the certificate that fits when a client
    has said which name it asks for; so certificates can be replaced while sessions are under way,
    by a thread as well. Its keys of tickets stay the same as long as it lives, and all workers that
    were forked with it resume each other's sessions (RFC 8446, 4.6.1). Certificates of clients are
    not looked at again then, so other authorities of clients take another front, and end all
    tickets; each worker has keys of its own then.

    Args:
        name: NAME of the table.
        table: the settings in it.
        pems: what its files hold.
        certificates: what its certificates say, in the same order.
        alpn: the protocols that clients may ask for, the dearest first.
        keylog: a file to which the keys of all sessions are added; nobody else may read it.

    Attributes:
        front: make each session from what is here at that time:
            `front.wrap_bio(incoming, outgoing, server_side=True)`.
        certificates: what the certificates say that are in use.

    Raises:
        CertificateError: one of the files cannot be used.
    """

    def __init__(
        self,
        name: str,
        table: Tls,
        pems: PemSet,
        certificates: Sequence[Certificate],
        alpn: Sequence[str] = (),
        keylog: str = "",
    ) -> None:
        self.name, self._table, self._alpn, self._keylog = name, table, list(alpn), keylog
        self._client_ca = pems.client_ca
        self.front = self._make_front()
        self.install(pems, certificates)

    def install(self, pems: PemSet, certificates: Sequence[Certificate]) -> None:
        """Have these certificates in all sessions that begin from now on.

        Args:
            pems: what the files hold.
            certificates: what the certificates say, in the same order.

        Raises:
            CertificateError: one of the files cannot be used; those before it stay.
        """
        self._choice = self._choose(pems, certificates)
        self.certificates = tuple(certificates)
        if pems.client_ca != self._client_ca:
            self._client_ca = pems.client_ca
            self.front = self._make_front()

    def _make_front(self) -> ssl.SSLContext:
        front = self._context(self._client_ca)
        front.sslobject_class = NamedObject
        front.sni_callback = self._put_in
        return front

    def _put_in(
        self, session: ssl.SSLObject | ssl.SSLSocket, name: str | None, _front: ssl.SSLContext
    ) -> int | None:
        # OpenSSL calls this for each ClientHello, also for one without a name.
        assert isinstance(session, NamedObject)
        session.server_name = name
        found = self._choice.find(name)
        if found is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        session.context = found
        return None

    def _choose(self, pems: PemSet, certificates: Sequence[Certificate]) -> _Choice:
        made: dict[tuple[int, ...], ssl.SSLContext] = {}
        from_where = places(self._table)

        def context_of(numbers: tuple[int, ...]) -> ssl.SSLContext:
            if numbers not in made:
                loaded = [(from_where[each], pems.certificates[each]) for each in numbers]
                made[numbers] = self._context(pems.client_ca, loaded)
            return made[numbers]

        contexts = {
            name: context_of(_of_each_type(certificates, name))
            for each in certificates
            for name in each.names
        }
        # The first one comes with those of other types that are for the same name.
        names = certificates[0].names
        alike = _of_each_type(certificates, names[0]) if names else (0,)
        first = context_of(alike if 0 in alike else (0,))
        return _Choice(
            exact={name: each for name, each in contexts.items() if not name.startswith("*.")},
            wildcards={name[2:]: each for name, each in contexts.items() if name.startswith("*.")},
            first=first if self._table.unknown_name == "first" else None,
        )

    def _context(
        self, client_ca: bytes, loaded: Sequence[tuple[Place, Pem]] = ()
    ) -> ssl.SSLContext:
        """Make a context with the rules of the table.

        What a session does comes partly from the front and partly from what is put in: the demand
        for a certificate of the client from the first, its authorities and ALPN from the second.
        So all of them have the same rules.
        """
        table, context = self._table, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = (
            ssl.TLSVersion.TLSv1_3 if table.profile == "modern" else ssl.TLSVersion.TLSv1_2
        )
        context.set_ciphers(_INTERMEDIATE)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # phones are faster with ChaCha20
        # A ticket resumes one session (RFC 8446, C.4), and each costs a fifteenth of a handshake:
        # a second one is for clients with several connections at once, as browsers are.
        context.num_tickets = 1
        if self._alpn:
            context.set_alpn_protocols(self._alpn)
        if self._keylog:
            context.keylog_filename = self._keylog
        context.verify_mode = _DEMANDS[table.clients]
        if client_ca:
            load_authorities(context, table, client_ca)
        for place, pem in loaded:
            try:
                load_into(context, pem)
            except ssl.SSLError as error:
                cause = f"OpenSSL does not take it: {error.reason}"
                raise place.error("certificate", cause) from None
        return context


def load_authorities(context: ssl.SSLContext, table: Tls, client_ca: bytes) -> None:
    """Have certificates of clients come from these authorities.

    Raises:
        CertificateError: they cannot be used.
    """
    try:
        context.load_verify_locations(cadata=client_ca.decode("ascii"))
    except (ssl.SSLError, ValueError):
        cause = "it has no certificates in PEM"
        raise CertificateError("client_ca", table.client_ca, cause) from None


def _of_each_type(certificates: Sequence[Certificate], name: str) -> tuple[int, ...]:
    """Return the numbers of the certificates for a name: of each type of key the first."""
    found: dict[str, int] = {}
    for number, each in enumerate(certificates):
        if name in each.names:
            found.setdefault(each.key_type, number)
    return tuple(found.values())

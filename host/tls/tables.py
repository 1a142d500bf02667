"""All tables [tls.NAME] of a host: loads them, and has workers take over new certificates."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from host.runtime.accounts import Account
from host.settings import Listen, Loaded, Problem, SettingsError, Tls
from host.tls.certificate import Certificate, examine
from host.tls.contexts import ServerContext, load_authorities
from host.tls.kept import Keeper, KeptFiles, Seen, look_at
from host.tls.pem import (
    CertificateError,
    Pem,
    PemSet,
    ReadFile,
    files_of,
    places,
    read_authorities,
    read_file,
    read_one,
    read_set,
    seal,
    unseal,
)


class CertificateSet(NamedTuple):
    """The certificates of one table [tls.NAME], which have been tried.

    Attributes:
        pems: what its files hold.
        certificates: what the certificates say, in the same order.
    """

    pems: PemSet
    certificates: tuple[Certificate, ...]

    def sealed(self) -> int:
        """Write it into a file in memory that nobody can change; the caller closes it."""
        facts = json.dumps([asdict(each) for each in self.certificates]).encode()
        own = [
            part for pem in self.pems.certificates for part in (pem.chain, pem.key, pem.password)
        ]
        return seal([facts, self.pems.client_ca, *own])


def unsealed(descriptor: int) -> CertificateSet:
    """Return what `CertificateSet.sealed` has written; the descriptor stays open.

    Raises:
        ValueError: somebody else has written it.
    """
    facts, client_ca, *own = unseal(descriptor)
    said = [each | {"names": tuple(each["names"])} for each in json.loads(facts)]
    pems = [Pem(*own[at : at + 3]) for at in range(0, len(own), 3)]
    return CertificateSet(
        PemSet(tuple(pems), client_ca), tuple(Certificate(**each) for each in said)
    )


def load_set(table: Tls, read: ReadFile = read_file) -> CertificateSet:
    """Read the files of a table, and try each certificate.

    Raises:
        CertificateError: one of them cannot be used.
    """
    pems = read_set(table, read)
    pairs = zip(pems.certificates, places(table), strict=True)
    return CertificateSet(pems, tuple(examine(pem, place) for pem, place in pairs))


class Renewal(NamedTuple):
    """What has come of reading the files of a table again.

    Attributes:
        error: why they cannot be used, or "".
        descriptor: the new certificates, sealed, for workers; whoever takes it closes it. None if
            nothing has changed.
    """

    error: str
    descriptor: int | None = None


class TlsContexts:
    """The contexts of all tables, as listeners need them; workers inherit them.

    Args:
        tables: the settings of each table, by its NAME.
        sets: its certificates.
        alpn: which protocols are asked for with which table: NAME, protocols.
        keylog: see `ServerContext`.
        kept: files that root has read, if there are any.

    Raises:
        CertificateError: a certificate cannot be used.
    """

    def __init__(
        self,
        tables: Mapping[str, Tls],
        sets: Mapping[str, CertificateSet],
        alpn: Iterable[tuple[str, tuple[str, ...]]] = (),
        keylog: str = "",
        kept: KeptFiles | None = None,
    ) -> None:
        self.tables, self._kept = tables, kept
        self._public = {name: _public(found) for name, found in sets.items()}
        wanted = dict.fromkeys([*((name, ()) for name in tables), *alpn])
        self._contexts = {
            (name, protocols): ServerContext(
                name, tables[name], *sets[name], alpn=protocols, keylog=keylog
            )
            for name, protocols in wanted
        }

    def of(self, listen: Listen) -> ServerContext | None:
        """Return the context of a listener; None if it has no TLS."""
        return self._contexts[listen.tls, tuple(listen.alpn)] if listen.tls else None

    def named(self, name: str) -> ServerContext:
        """Return the context of a table, without ALPN: for connections that begin in plain text.

        Raises:
            KeyError: there is no such table.
        """
        return self._contexts[name, ()]

    def all(self) -> Iterator[tuple[str, int, Certificate]]:
        """Yield NAME, number and what it says of each certificate that is in use."""
        for name in self.tables:
            for number, each in enumerate(self.certificates(name)):
                yield name, number, each

    def look(self, name: str) -> tuple[Seen, ...]:
        """Return what is seen of all files of a table without reading them."""
        return tuple(map(look_at, files_of(self.tables[name])))

    def certificates(self, name: str) -> Sequence[Certificate]:
        """Return what the certificates of a table say that are in use."""
        return self.named(name).certificates

    @property
    def kept_paths(self) -> list[str]:
        """The files that root has read."""
        return self._kept.paths if self._kept else []

    def not_read_again(self, name: str) -> str:
        """Say which files of a table may have been replaced and cannot be read again, or ""."""
        stale = self._kept.stale(files_of(self.tables[name])) if self._kept else ""
        return f"tls.{name}: {stale}" if stale else ""

    def renew(self, name: str, read: ReadFile | None = None) -> Renewal:
        """Read the files of a table again, and use what is in them if that has changed."""
        try:
            found = load_set(self.tables[name], read or _reader(self._kept))
            if _public(found) == self._public[name]:
                return Renewal("")
            self.install(name, found)
            descriptor = found.sealed()
        except CertificateError as error:
            cause = _with_stale(error, self.tables[name], self._kept)
            return Renewal(f'tls.{name}.{error.key} = "{error.path}": {cause}')
        except OSError as error:  # the next look tries again
            return Renewal(f"nothing can be sent to workers: {error.strerror}")
        self._public[name] = _public(found)
        return Renewal("", descriptor)

    def install(self, name: str, found: CertificateSet) -> None:
        """Have these certificates in all sessions that begin from now on.

        Raises:
            CertificateError: they cannot be used; those before them stay.
        """
        for (each, _), context in self._contexts.items():
            if each == name:
                context.install(*found)

    def install_sealed(self, name: str, descriptor: int) -> None:
        """Do the same with what `CertificateSet.sealed` has written; the descriptor stays open.

        Raises:
            CertificateError, ValueError: they cannot be used; those before them stay.
        """
        self.install(name, unsealed(descriptor))


def keep_files(loaded: Loaded, account: Account) -> int | None:
    """Read all files of all tables as root, and keep what that user may not read.

    Nothing of them is tried: what is in them is not for a process of root's.

    Args:
        loaded: the settings.
        account: the user that this process of root's is to become.

    Returns:
        What is kept, for `KeptFiles`: the caller closes it. None if that user may read them all.

    Raises:
        SettingsError: with all that cannot be read.
    """
    keeper, problems = Keeper(account), []
    for name, table in loaded.settings.tls.items():
        try:
            read_set(table, keeper.read)
        except CertificateError as error:
            problems.append(_problem(loaded, name, error))
    if problems:
        raise SettingsError(problems)
    return keeper.sealed()


def load_tables(loaded: Loaded, descriptor: int | None = None) -> TlsContexts:
    """Read and try the certificates of all tables [tls.NAME].

    Args:
        loaded: the settings.
        descriptor: what `keep_files` has kept, if there is anything; it stays the caller's.

    Raises:
        SettingsError: with all that cannot be used.
    """
    kept = None if descriptor is None else KeptFiles(descriptor)
    tables, problems = loaded.settings.tls, []
    sets: dict[str, CertificateSet] = {}
    for name, table in tables.items():
        try:
            sets[name] = load_set(table, _reader(kept))
            ServerContext(name, table, *sets[name])  # tries the authorities of clients, too
        except CertificateError as first:
            # A file may have been replaced a moment ago: then nothing is wrong any more.
            for error in list(_errors(table, _reader(kept))) or [first]:
                told = CertificateError(error.key, error.path, _with_stale(error, table, kept))
                problems.append(_problem(loaded, name, told))
    if loaded.keylog and not problems:
        problems += _make_private(loaded.keylog)
    if problems:
        raise SettingsError(problems)
    alpn = [(each.tls, tuple(each.alpn)) for each in loaded.settings.listen if each.tls]
    return TlsContexts(tables, sets, alpn, loaded.keylog, kept)


def _errors(table: Tls, read: ReadFile) -> Iterator[CertificateError]:
    """Yield what is wrong with each certificate of a table, and with its authorities."""
    for place in places(table):
        try:
            examine(read_one(place, read), place)
        except CertificateError as error:
            yield error
    try:
        if authorities := read_authorities(table, read):
            load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), table, authorities)
    except CertificateError as error:
        yield error


def _reader(kept: KeptFiles | None) -> ReadFile:
    return kept.read if kept else read_file


def _with_stale(error: CertificateError, table: Tls, kept: KeptFiles | None) -> str:
    """Return the cause of an error, and which files of the table may have been replaced."""
    stale = kept.stale(files_of(table)) if kept else ""
    return f"{error.cause}; {stale}" if stale else error.cause


def _make_private(file: str) -> list[Problem]:
    """Make the file that keys are written to, which OpenSSL would let everybody read."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError as error:
        cause = f"cannot be written to: {error.strerror}"
        return [Problem("--tls-keylog", f'"{file}"', cause, "")]
    return []


def _public(found: CertificateSet) -> list[bytes]:
    """Return all that is not secret: a key that fits the same certificate is the same key."""
    return [found.pems.client_ca, *(pem.chain for pem in found.pems.certificates)]


def _problem(loaded: Loaded, name: str, error: CertificateError) -> Problem:
    key = f"tls.{name}.{error.key}"
    return Problem(key, f'"{error.path}"', error.cause, f"from {loaded.origin(key)}")

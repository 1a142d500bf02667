"""Reads the files of certificates, and writes what is in them for workers."""

from __future__ import annotations

import fcntl
import os
import re
import ssl
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from host.settings import CertificateFiles, Tls

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_LENGTH = struct.Struct("<I")
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MAX_FILE_BYTES = 1024 * 1024

ReadFile = Callable[[str], bytes]
"""Returns what is in a file; raises OSError or ValueError."""


class CertificateError(Exception):
    """A certificate that cannot be used.

    Attributes:
        key: the key of the settings that is to blame, from that of the table on.
        path: the file that it names.
        cause: what is wrong, and what to do. It has nothing of a key or a password in it.
    """

    def __init__(self, key: str, path: str, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.key, self.path, self.cause = key, path, cause


class Place(NamedTuple):
    """Where a certificate comes from.

    Attributes:
        number: its number in the table, from 0 on.
        files: its files.
    """

    number: int
    files: CertificateFiles

    def error(
        self, name: Literal["certificate", "key", "key_password_file"], cause: str
    ) -> CertificateError:
        """Return the error that says what is wrong with one of the files."""
        return CertificateError(
            f"certificates[{self.number}].{name}", getattr(self.files, name), cause
        )


def places(table: Tls) -> list[Place]:
    """Return where the certificates of a table come from."""
    return [Place(number, files) for number, files in enumerate(table.certificates)]


@dataclass(frozen=True, slots=True)
class Pem:
    """What the files of one certificate hold. The repr has none of it.

    Attributes:
        chain: the certificate, and those that lead to a root.
        key: its private key.
        password: that of the key, or nothing.
    """

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    password: bytes = field(default=b"", repr=False)


class PemSet(NamedTuple):
    """What the files of one table [tls.NAME] hold.

    Attributes:
        certificates: those of its certificates, in order.
        client_ca: the authorities of clients, or nothing.
    """

    certificates: tuple[Pem, ...]
    client_ca: bytes


def read_file(path: str) -> bytes:
    """Return what is in a regular file, unless it is far too large for one of certificates.

    Raises:
        OSError, ValueError: why not.
    """
    # Without O_NONBLOCK the host would wait for whoever writes to a FIFO (fifo(7)).
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return read_descriptor(descriptor)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int) -> bytes:
    """Do the same with a file that is open; it stays so.

    Raises:
        OSError, ValueError: why not.
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ValueError("it is no regular file")
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"it has more than {_MAX_FILE_BYTES} bytes")
    return data


def read_set(table: Tls, read: ReadFile = read_file) -> PemSet:
    """Read all files of a table.

    Raises:
        CertificateError: one of them cannot be read.
    """
    pems = tuple(read_one(place, read) for place in places(table))
    return PemSet(pems, read_authorities(table, read))


def read_authorities(table: Tls, read: ReadFile) -> bytes:
    """Read the authorities of clients; nothing if the table has none.

    Raises:
        CertificateError: they cannot be read.
    """
    return _read(table.client_ca, "client_ca", read) if table.client_ca else b""


def read_one(place: Place, read: ReadFile) -> Pem:
    """Read the files of one certificate.

    Raises:
        CertificateError: one of them cannot be read.
    """
    files, prefix = place.files, f"certificates[{place.number}]"
    chain = _read(files.certificate, f"{prefix}.certificate", read)
    if not certificates_in(chain):
        cause = "it has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----"
        raise place.error("certificate", cause)
    key, password = _read(files.key, f"{prefix}.key", read), b""
    if files.key_password_file:
        text = _read(files.key_password_file, f"{prefix}.key_password_file", read)
        password = text.partition(b"\n")[0].rstrip(b"\r")
    return Pem(chain, key, password)


def _read(path: str, key: str, read: ReadFile) -> bytes:
    try:
        return read(path)
    except PermissionError:
        cause = (
            "the user of the host may not do so. Root reads it when it starts a host that becomes"
            " another user (process.user), or a service manager hands over a copy of its own"
        )
    except OSError as error:
        cause = error.strerror or type(error).__name__
        if not os.path.isabs(path):
            cause += " (a relative path begins at the working directory of the host)"
    except ValueError as error:
        cause = str(error)
    raise CertificateError(key, path, f"it cannot be read: {cause}")


def files_of(table: Tls) -> list[str]:
    """Return the paths of all files of a table."""
    paths = [
        path
        for each in table.certificates
        for path in (each.certificate, each.key, each.key_password_file)
    ]
    return [path for path in (*paths, table.client_ca) if path]


def certificates_in(text: bytes) -> list[bytes]:
    """Return the certificates in a text, each in PEM."""
    return _BLOCK.findall(text)


def load_into(context: ssl.SSLContext, pem: Pem) -> None:
    """Load a certificate with its key into a context that nobody uses yet.

    One that fails leaves the context of no use. OpenSSL reads files only, so these are in memory,
    and it never asks anybody for a password.

    Raises:
        ssl.SSLError: they do not fit together, or one of them cannot be used.
    """
    with _in_memory(pem.chain) as chain, _in_memory(pem.key) as key:
        context.load_cert_chain(chain, key, password=lambda: pem.password)


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("pem")
    try:
        write_all(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a file in memory, of which one write(2) takes 2 GiB at most."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def seal(parts: Sequence[bytes]) -> int:
    """Write parts into a file in memory that nobody can change any more (memfd_create(2)).

    Nor can anybody open it anew, in the /proc of a process that has it (memory that is hidden is
    seen for a moment after each exec): only root, and its owner after chmod(2).

    Returns:
        Its descriptor; the caller closes it.
    """
    descriptor = os.memfd_create("certificates", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.fchmod(descriptor, 0)
        for part in parts:
            write_all(descriptor, _LENGTH.pack(len(part)) + part)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def unseal(descriptor: int) -> list[bytes]:
    """Return the parts that `seal` has written; the descriptor stays open.

    Raises:
        ValueError: they are not sealed, so that somebody could change them, or not whole.
    """
    if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise ValueError("the file in memory is not sealed")
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    parts, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ValueError("the file in memory is cut off")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise ValueError("the file in memory is cut off")
        parts.append(data[at : at + length])
        at += length
    return parts

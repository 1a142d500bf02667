"""Listening sockets in the file descriptor store of a service manager: what is kept, and found.

The store outlives a supervisor that crashes, and what waits in the backlogs with it:
sd_pid_notify_with_fds(3), FileDescriptorStoreMax= in systemd.service(5).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

from host.net import gates, socket_files
from host.net.activation import Passed, PassedSockets, why_unusable
from host.net.listeners import ListeningSocket
from host.net.socket_files import SocketFile
from host.net.sockets import bound_address
from host.settings.address import parse

_PREFIX = "prefork="
"""How the name of a socket begins that a host has stored; the configured address follows."""
_PLAIN = "/@[]="
_MAX_NAME = 255


class StoredSocket(NamedTuple):
    """A socket that a host before this one has stored.

    Attributes:
        name: its name in the store.
        sock: the socket; who uses it closes it.
        configured: the address as the settings had it.
        address: what it is bound to.
        file: its socket file.
    """

    name: str
    sock: socket.socket
    configured: str
    address: str
    file: SocketFile | None


def find(passed: PassedSockets) -> tuple[list[StoredSocket], PassedSockets]:
    """Return the sockets that were stored, and the others that were passed.

    One whose gate was shut when its host ended takes connections again. What no host can have
    stored is one of the others, whatever its name is.
    """
    ours = [
        each
        for each in passed.sockets
        if each.name.startswith(_PREFIX) and not why_unusable(each)[0]
    ]
    return [_stored(each) for each in ours], passed.without(ours)


def _stored(passed: Passed) -> StoredSocket:
    sock = socket.socket(fileno=passed.fd)
    sock.setblocking(False)
    gates.reopen(sock)
    configured = unquote(
        re.sub(r"#\d+$", "", passed.name.removeprefix(_PREFIX)), errors="surrogateescape"
    )
    file = socket_files.found(sock) if sock.family == socket.AF_UNIX else None
    return StoredSocket(passed.name, sock, configured, bound_address(sock), file)


def addition(name: str) -> str:
    """Return the message that comes with a socket to be stored."""
    return f"FDSTORE=1\nFDNAME={name}"


def removal(name: str) -> str:
    """Return the message that has a socket removed from the store."""
    return f"FDSTOREREMOVE=1\nFDNAME={name}"


def inode(sock: socket.socket) -> int:
    """Return what no other socket has that is open."""
    return os.fstat(sock.fileno()).st_ino


def changes(
    stored: Mapping[str, int], listeners: Iterable[ListeningSocket]
) -> tuple[list[str], dict[str, ListeningSocket]]:
    """Return what is to be removed from the store, and what is to be added after that, by name.

    Args:
        stored: the inode of each socket that is there, by its name.
        listeners: what is to be there, but for sockets that the service manager has passed, and
            for those of UDP, whose datagrams are lost with the workers that hold them.
    """
    left = {number: name for name, number in stored.items()}
    new = []
    for listener in listeners:
        if listener.is_kept or parse(listener.configured).is_udp:
            continue
        if left.pop(inode(listener.sock), None) is None:
            new.append(listener)
    removed = list(left.values())
    names = set(stored) - set(removed)
    added = {}
    for listener in new:
        name = _free_name(listener.configured, names)
        if len(name) <= _MAX_NAME:  # a path of other letters than ASCII may be too long
            names.add(name)
            added[name] = listener
    return removed, added


def _free_name(configured: str, names: set[str]) -> str:
    """Return a name that is not used yet: port 0 may be listened on several times."""
    name = first = _PREFIX + quote(configured, safe=_PLAIN, errors="surrogateescape")
    number = 1
    while name in names:
        number += 1
        name = f"{first}#{number}"
    return name

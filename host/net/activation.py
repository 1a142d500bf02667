"""Sockets that a service manager has opened and passes to the host: sd_listen_fds(3)."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from errno import EINVAL, ENOENT
from typing import NamedTuple

from pydantic import ValidationError

from host.errors import ListenError
from host.net.sockets import borrow, bound_address
from host.settings import Listen
from host.settings.address import FIRST_PASSED

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_NO_NAME = "unknown"
"""What a socket is called that was passed without a name, there and here."""
_NOBODY = (
    "no service manager has passed any to this process: start it by the service that the socket"
    " unit belongs to"
)


class Passed(NamedTuple):
    """A socket that was passed: its name, and its descriptor, which it keeps."""

    name: str
    fd: int


Supply = Mapping[str, Iterator[Passed]]
"""The sockets for each address `fd:…`, one for each time that it is listed."""


class PassedSockets:
    """What a service manager has passed. It is passed once, so it stays open as long as the host.

    Args:
        sockets: the sockets, in the order of their numbers; `close` closes them.
        why_none: why there are none, if there are none.
    """

    def __init__(self, sockets: Iterable[Passed] = (), why_none: str = _NOBODY) -> None:
        self.sockets = tuple(sockets)
        self._why_none = why_none

    def without(self, sockets: Iterable[Passed]) -> PassedSockets:
        """Return the others."""
        gone = set(sockets)
        return PassedSockets((each for each in self.sockets if each not in gone), self._why_none)

    def supply(self, listens: Iterable[Listen]) -> Supply:
        """Return the sockets for all addresses `fd:…` of these.

        Raises:
            ListenError: there is none, they are more or fewer than are listed, one of them is
                listed or was passed twice, is no listening socket that the host can use, or has
                options that are not for its address.
        """
        listed = [each for each in listens if each.parsed.family == "fd"]
        wanted = Counter(each.parsed.path for each in listed)
        users: dict[int, tuple[str, int]] = {}
        supply = {}
        for name, times in wanted.items():
            address = f"fd:{name}"
            found = self._find(address, name, times)
            for each in found:
                # Its inode tells a socket that was passed twice, too.
                first, fd = users.setdefault(os.fstat(each.fd).st_ino, (address, each.fd))
                if (first, fd) != (address, each.fd):
                    same = first if first != address else f"fd:{fd}"
                    cause = f"it is the same socket as {same}"
                    raise ListenError(address, EINVAL, f"list it once, as {same}", cause)
                _check(address, each)
                for listen in listed:
                    if listen.address == address:
                        _check_options(listen, _address(each))
            supply[address] = iter(found)
        return supply

    def _find(self, address: str, name: str, times: int) -> list[Passed]:
        """Return the sockets with a name or number, which must be so many."""
        if name.isdigit():
            found = [each for each in self.sockets if each.fd == int(name)]
        else:
            found = [each for each in self.sockets if each.name == name]
        if not found:
            there = ", ".join(_shown(each) for each in self.sockets)
            advice = f"there is: {there}" if there else self._why_none
            raise ListenError(address, ENOENT, advice, "there is no such socket")
        if len(found) != times:
            numbers = ", ".join(f"fd:{each.fd}" for each in found)
            advice = f"list it once for each of them, or by its number: {numbers}"
            cause = f"so many are called that: {len(found)}, and it is listed so often: {times}"
            raise ListenError(address, EINVAL, advice, cause)
        return found

    def unused(self, listening: Iterable[socket.socket]) -> list[tuple[str, str]]:
        """Return name and address of each on which none of these listens: nobody is served there.

        Args:
            listening: copies of them among other sockets.
        """
        used = {os.fstat(sock.fileno()).st_ino for sock in listening}
        unused = []
        for each in self.sockets:
            found = os.fstat(each.fd)
            if stat.S_ISSOCK(found.st_mode) and found.st_ino not in used:
                unused.append(each)
        return [(f"fd:{each.name}", _address(each)) for each in unused]

    def close(self) -> None:
        """Close them; harmless if they are closed."""
        for each in self.sockets:
            with suppress(OSError):
                os.close(each.fd)
        self.sockets = ()


def take(environ: MutableMapping[str, str] = os.environ, pid: int | None = None) -> PassedSockets:
    """Return the sockets that were passed to this process; no other process inherits them.

    Args:
        environ: the variables that tell of them are taken out of it, whosever they are.
        pid: that of this process, if left out.
    """
    found = {name: environ.pop(name, "") for name in _VARIABLES}
    theirs, count, ours = found["LISTEN_PID"], found["LISTEN_FDS"], str(pid or os.getpid())
    if not count:
        return PassedSockets()
    if theirs != ours:
        return PassedSockets(
            why_none=f"those of LISTEN_FDS are for process {theirs or '(none)'} (LISTEN_PID), and"
            f" this is {ours}: a script between the service manager and the host must end in exec"
        )
    if not (count.isascii() and count.isdigit()):
        return PassedSockets(why_none=f"LISTEN_FDS is {count!r}, which is no number")
    names = found["LISTEN_FDNAMES"].split(":") if found["LISTEN_FDNAMES"] else []
    passed = []
    for number in range(int(count)):
        name = names[number] if number < len(names) else _NO_NAME
        each = Passed(name or _NO_NAME, FIRST_PASSED + number)
        try:
            os.set_inheritable(each.fd, False)
        except OSError:  # EBADF: a program in between has closed it, and so those after it
            break
        passed.append(each)
    return PassedSockets(passed, f"LISTEN_FDS is {count}, but the descriptors are closed")


def why_unusable(passed: Passed) -> tuple[str, str]:
    """Return why it is no listening stream socket, and what to do; "" if it is one."""
    try:
        with borrow(passed.fd) as sock:
            return _unusable(sock)
    except OSError:
        return "it is no socket", "pass one that a socket unit has opened"


def _check(address: str, passed: Passed) -> None:
    """Raise ListenError if it is no listening stream socket."""
    cause, advice = why_unusable(passed)
    if cause:
        raise ListenError(address, EINVAL, advice, cause)


def _check_options(listen: Listen, text: str) -> None:
    """Raise ListenError if options are not for an address that was not known before."""
    address = re.sub(r"%[^\]]*", "", text)  # without a scope, which settings cannot have
    try:
        Listen.model_validate(listen.model_dump() | {"address": address})
    except ValidationError as error:
        cause = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        advice = f"it is {text}: change its options, or what the socket unit listens on"
        raise ListenError(listen.address, EINVAL, advice, cause) from None


def _unusable(sock: socket.socket) -> tuple[str, str]:
    """Return what is wrong with a socket that was passed, and what to do; "" if nothing is."""
    protocols = {socket.AF_INET: socket.IPPROTO_TCP, socket.AF_INET6: socket.IPPROTO_TCP}
    if sock.type != socket.SOCK_STREAM:
        return "it takes no connections", "use ListenStream= in the socket unit"
    if sock.family != socket.AF_UNIX and sock.proto != protocols.get(sock.family):
        return "it is neither TCP nor a Unix socket", "leave SocketProtocol= out of the socket unit"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return (
            "it does not listen: it is a client's connection",
            "set Accept=no in the socket unit, since one host serves all connections",
        )
    return "", ""


def _shown(passed: Passed) -> str:
    return f"fd:{passed.name} (fd:{passed.fd}, {_address(passed)})"


def _address(passed: Passed) -> str:
    try:
        with borrow(passed.fd) as sock:
            return bound_address(sock)
    except OSError:
        return "no socket"

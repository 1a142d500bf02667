"""Listening sockets: bound once, and asked how many connections wait on them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Literal

from host.errors import ListenError
from host.interfaces import Listener
from host.net import gates, socket_files
from host.net.activation import Passed, Supply
from host.net.socket_files import SocketFile
from host.net.sockets import bound_address, describe
from host.runtime.accounts import Account
from host.settings import Listen
from host.settings.address import parse

_ADVICE = {
    errno.EADDRINUSE: "another process listens there: stop it, or choose another address",
    errno.EPERM: "another user's socket file is there, which may not be removed, or the file may "
    "not be given to that owner or group",
    errno.EACCES: "not allowed: ports below 1024 need CAP_NET_BIND_SERVICE, socket files a "
    "folder that this user may write to",
    errno.EADDRNOTAVAIL: "no network interface of this machine has that address",
    errno.EAFNOSUPPORT: "this machine does not speak that address family",
    errno.EEXIST: "it is no socket: remove it, or choose another address",
    errno.ENOENT: "its folder does not exist: make it first",
}

Source = Literal["opened", "passed", "stored"]
"""Who has opened a listening socket: this host; the service manager, which keeps it (`passed`); or
a host before this one, and the service manager has kept it (`stored`)."""


class ListeningSocket:
    """One bound, non-blocking listening socket; it owns the descriptor and the socket file.

    Attributes:
        view: what plugins see of it.
        sock: the socket; workers inherit it and accept from it.
        wanted: the backlog asked for; the kernel caps it silently at net.core.somaxconn.
        configured: the address as the settings have it: with port 0 if any will do.
        max_rate: connections a second that are handed out at most; 0 for any number.
        max_connections: connections that may be open at a time; 0 for any number.
        source: who has opened it.
        trouble: why nobody can connect, or "": its file is gone, and a new one cannot be made.
        netlink: by what the kernel is asked for the queue's length, if it needs that.
    """

    def __init__(
        self,
        sock: socket.socket,
        view: Listener,
        wanted: int,
        file: SocketFile | None,
        configured: str,
        max_rate: float = 0.0,
        max_connections: int = 0,
    ) -> None:
        self.sock, self.view, self.wanted, self.configured = sock, view, wanted, configured
        self.max_rate, self.max_connections = max_rate, max_connections
        self._is_shut = False
        self.source: Source = "passed" if configured.startswith("fd:") else "opened"
        self.trouble = ""
        self.netlink: socket.socket | None = None
        self._file = file
        self._owner = os.getpid()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self.sock.fileno()

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it: its peers have no round trip."""
        try:
            return parse(self.view.address if self.is_kept else self.configured).is_local
        except ValueError:  # one with a scope, which settings cannot have: fe80::1%eth0
            return False

    @property
    def is_kept(self) -> bool:
        """Whether the service manager goes on listening when the host does not any more."""
        return self.source == "passed"

    @property
    def file(self) -> SocketFile | None:
        """The socket file, until it is removed."""
        return self._file

    def shut_gate(self) -> None:
        """Refuse new connections, and reset none that is being made.

        Closing a listening socket resets connections that the kernel has completed and nobody has
        accepted. With the gate shut (host.net.gates) handshakes under way complete, and the client
        of a dropped SYN tries again, and meets the next instance or a refusal. A socket file is
        removed, which leaves those who are connected alone.

        A socket that the service manager keeps stays as it is: what is done to it, the next host
        would have. Who waits there is served by that one.
        """
        self._is_shut = True
        if self.is_kept:
            return
        self.unlink()
        gates.shut(self.sock)

    def gate_is_shut(self) -> bool:
        """Tell whether the gate was shut: the listener is about to be closed."""
        return self._is_shut

    def kept_length(self, length: Callable[[], int]) -> Callable[[], int]:
        """Return what tells how many wait there for this host: none once its gate is shut.

        Args:
            length: tells how many wait.
        """
        return lambda: 0 if self._is_shut else length()

    def close_in_fork(self) -> None:
        """Close the copy of a process that a plugin has forked; the listener stays bound."""
        self.sock.close()

    def unlink(self) -> None:
        """Remove the socket file, if it is still ours and this is the process that made it."""
        if self._file is None or self._owner != os.getpid():
            return
        self._file.remove()
        self._file = None

    def close(self) -> None:
        """Close the socket and remove its file."""
        self.unlink()
        self.sock.close()
        self.leave()

    def leave(self) -> None:
        """Close what only this object holds; another one goes on with the socket and its file."""
        self._file = None
        if self.netlink is not None:
            self.netlink.close()


def open_listener(
    listen: Listen,
    index: int,
    plugin: str,
    supply: Supply | None = None,
    account: Account | None = None,
) -> ListeningSocket:
    """Bind and listen, or take a socket that was passed.

    Args:
        listen: what the settings say.
        index: the listener's number.
        plugin: the name of the plugin that serves it.
        supply: has the sockets that were passed; the host goes on with copies of them.
        account: the user that this process, which is root's, is about to become; None if none.

    Raises:
        ListenError: the machine refuses; nothing is left behind.
    """
    address = listen.parsed
    if address.family == "fd":
        return _open_passed(next((supply or {})[str(address)]), listen, index, plugin)
    family = {"tcp4": socket.AF_INET, "tcp6": socket.AF_INET6, "unix": socket.AF_UNIX}
    file = None
    try:
        sock = socket.socket(family[address.family], socket.SOCK_STREAM)
    except OSError as error:
        raise listen_error(listen.address, error) from error
    try:
        if address.family == "unix":
            text = str(address)
            if address.path.startswith("@"):
                sock.bind("\0" + address.path[1:])
            else:
                file = socket_files.open_file(sock, listen, account)
        else:
            text = _bind_tcp(sock, address.host, address.port)
        sock.listen(listen.backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if file is not None:
            file.remove()
        raise listen_error(listen.address, error) from error
    view = Listener(index, text, plugin)
    places = listen.max_connections
    return ListeningSocket(sock, view, listen.backlog, file, str(address), listen.max_rate, places)


def inherit_listener(
    sock: socket.socket, listen: Listen, view: Listener, file: SocketFile | None
) -> ListeningSocket:
    """Go on with a socket that is bound already, as the settings have it now.

    The mode of a socket file that an operator has changed stays, unless the settings change it.

    Raises:
        ListenError: the machine refuses; the socket stays as it was.
    """
    try:
        sock.listen(listen.backlog)
        if file is not None:
            file = file.as_wanted(listen)
    except OSError as error:
        raise listen_error(listen.address, error) from error
    places = listen.max_connections
    return ListeningSocket(
        sock, view, listen.backlog, file, str(listen.parsed), listen.max_rate, places
    )


def _open_passed(passed: Passed, listen: Listen, index: int, plugin: str) -> ListeningSocket:
    """Return a listener with a copy of a socket that was passed, which stays bound as it is."""
    sock = None
    try:
        sock = socket.socket(fileno=os.dup(passed.fd))
        text = bound_address(sock)
        if sock.family != socket.AF_UNIX:
            _set_inherited(sock)
        sock.listen(listen.backlog)
        sock.setblocking(False)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise listen_error(listen.address, error) from error
    view = Listener(index, text, plugin)
    places = listen.max_connections
    return ListeningSocket(
        sock, view, listen.backlog, None, str(listen.parsed), listen.max_rate, places
    )


def listen_error(address: str, error: OSError) -> ListenError:
    """Return the error that says what the machine refuses at an address, and what helps."""
    number = error.errno or errno.EINVAL
    return ListenError(address, number, _ADVICE.get(number, "see bind(2) and listen(2)"))


def _bind_tcp(sock: socket.socket, host: str, port: int) -> str:
    """Bind; return the bound address."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _set_inherited(sock)
    if sock.family == socket.AF_INET6:
        # Else [::]:80 would take 0.0.0.0:80 as well, depending on a sysctl (ipv6(7)).
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((host, port))
    return f"tcp://{describe(sock.getsockname())}"


def _set_inherited(sock: socket.socket) -> None:
    """Set what sockets inherit that are accepted from a TCP socket (tcp(7))."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

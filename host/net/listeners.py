"""Listening sockets: bound once, and asked how many connections wait on them."""

from __future__ import annotations

import errno
import os
import socket

from host.errors import ListenError
from host.interfaces import Listener
from host.net import gates, socket_files
from host.net.socket_files import SocketFile
from host.net.sockets import describe
from host.runtime.accounts import Account, find_group, find_user
from host.runtime.privileges import acting_as
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


class ListeningSocket:
    """One bound, non-blocking listening socket; it owns the descriptor and the socket file.

    Attributes:
        view: what plugins see of it.
        sock: the socket; workers inherit it and accept from it.
        wanted: the backlog asked for; the kernel caps it silently at net.core.somaxconn.
        configured: the address as the settings have it: with port 0 if any will do.
        max_rate: connections a second that are handed out at most; 0 for any number.
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
    ) -> None:
        self.sock, self.view, self.wanted, self.configured = sock, view, wanted, configured
        self.max_rate = max_rate
        self._is_shut = False
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
        return parse(self.configured).is_local

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
        """
        self._is_shut = True
        self.unlink()
        gates.shut(self.sock)

    def gate_is_shut(self) -> bool:
        """Tell whether the gate was shut: the listener is about to be closed."""
        return self._is_shut

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
    listen: Listen, index: int, plugin: str, account: Account | None = None
) -> ListeningSocket:
    """Bind and listen.

    Args:
        listen: what the settings say.
        index: the listener's number.
        plugin: the name of the plugin that serves it.
        account: the user that this process, which is root's, is about to become; None if none.

    Raises:
        ListenError: the machine refuses; nothing is left behind.
    """
    address = listen.parsed
    family = {"tcp4": socket.AF_INET, "tcp6": socket.AF_INET6, "unix": socket.AF_UNIX}
    file = None
    try:
        sock = socket.socket(family[address.family], socket.SOCK_STREAM)
    except OSError as error:
        raise _listen_error(listen.address, error) from error
    try:
        if address.family == "unix":
            text = str(address)
            if address.path.startswith("@"):
                sock.bind("\0" + address.path[1:])
            else:
                file = _bind_file(sock, listen, account)
        else:
            text = _bind_tcp(sock, address.host, address.port)
        sock.listen(listen.backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if file is not None:
            file.remove()
        raise _listen_error(listen.address, error) from error
    view = Listener(index, text, plugin)
    return ListeningSocket(sock, view, listen.backlog, file, str(address), listen.max_rate)


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
            file = file.with_mode(listen.mode).given(*_owner(listen))
    except OSError as error:
        raise _listen_error(listen.address, error) from error
    return ListeningSocket(sock, view, listen.backlog, file, str(listen.parsed), listen.max_rate)


def check_inheritable(listen: Listen, file: SocketFile | None) -> None:
    """See whether a socket that is bound already can be had as the settings have it now.

    Raises:
        ListenError: its file belongs to another user, or would have to be given to one.
    """
    if file is None:
        return
    try:
        file.check_change(listen.mode, *_owner(listen))
    except OSError as error:
        advice = "its mode, owner or group changes, and only its owner or root may do that: restart"
        raise ListenError(listen.address, error.errno or errno.EPERM, advice) from error


def _bind_file(sock: socket.socket, listen: Listen, account: Account | None) -> SocketFile:
    """Bind to a socket file, with mode, owner and group, when nobody can connect yet.

    A user's folder could lead root anywhere: there it is bound by that user, if that is allowed.

    Raises:
        OSError: the machine refuses; nothing is left behind.
    """
    path, mode = listen.parsed.path, listen.mode
    given = _owner(listen)
    if account is None:
        file = socket_files.bind(sock, path, mode)
    else:
        if socket_files.is_stale(path):
            os.unlink(path)
        try:
            with acting_as(account):
                file = socket_files.bind(sock, path, mode)
        except PermissionError:
            file = socket_files.bind(sock, path, mode).given(account.uid, account.gid)
    try:
        return file.given(*given)
    except OSError:
        file.remove()
        raise


def _owner(listen: Listen) -> tuple[int, int]:
    """Return the numbers of the owner and the group that a socket file shall have."""
    return (
        find_user(listen.owner) if listen.owner else socket_files.NOBODY,
        find_group(listen.group) if listen.group else socket_files.NOBODY,
    )


def _listen_error(address: str, error: OSError) -> ListenError:
    number = error.errno or errno.EINVAL
    return ListenError(address, number, _ADVICE.get(number, "see bind(2) and listen(2)"))


def _bind_tcp(sock: socket.socket, host: str, port: int) -> str:
    """Bind, and set what accepted sockets inherit (tcp(7)); return the bound address."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sock.family == socket.AF_INET6:
        # Else [::]:80 would take 0.0.0.0:80 as well, depending on a sysctl (ipv6(7)).
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((host, port))
    return f"tcp://{describe(sock.getsockname())}"

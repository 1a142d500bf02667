"""Listening sockets: bound once, and asked how many connections wait on them."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from host.errors import ListenError
from host.interfaces import Listener
from host.net import gates
from host.net.sockets import describe
from host.settings import Listen
from host.settings.address import parse

_ADVICE = {
    errno.EADDRINUSE: "another process listens there: stop it, or choose another address",
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
        netlink: by what the kernel is asked for the queue's length, if it needs that.
    """

    def __init__(
        self,
        sock: socket.socket,
        view: Listener,
        wanted: int,
        file: tuple[str, int] | None,
        configured: str,
    ) -> None:
        self.sock, self.view, self.wanted, self.configured = sock, view, wanted, configured
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
    def file(self) -> tuple[str, int] | None:
        """The path and inode of the socket file, as long as it is ours."""
        return self._file

    def shut_gate(self) -> None:
        """Refuse new connections, and reset none that is being made.

        Closing a listening socket resets connections that the kernel has completed and nobody has
        accepted. With the gate shut (host.net.gates) handshakes under way complete, and the client
        of a dropped SYN tries again, and meets the next instance or a refusal. A socket file is
        removed, which leaves those who are connected alone.
        """
        self.unlink()
        gates.shut(self.sock)

    def unlink(self) -> None:
        """Remove the socket file, if it is still ours and this is the process that made it."""
        if self._file is None or self._owner != os.getpid():
            return
        path, inode = self._file
        self._file = None
        with suppress(OSError):
            if os.stat(path).st_ino == inode:
                os.unlink(path)

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


def open_listener(listen: Listen, index: int, plugin: str) -> ListeningSocket:
    """Bind and listen.

    Args:
        listen: what the settings say.
        index: the listener's number.
        plugin: the name of the plugin that serves it.

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
            file = _bind_unix(sock, address.path, listen.mode)
            text = str(address)
        else:
            text = _bind_tcp(sock, address.host, address.port)
        sock.listen(listen.backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if file is not None:
            Path(file[0]).unlink(missing_ok=True)
        raise _listen_error(listen.address, error) from error
    view = Listener(index, text, plugin)
    return ListeningSocket(sock, view, listen.backlog, file, str(address))


def inherit_listener(
    sock: socket.socket, listen: Listen, view: Listener, file: tuple[str, int] | None
) -> ListeningSocket:
    """Go on with a socket that is bound already, as the settings have it now.

    Raises:
        ListenError: the machine refuses; the socket stays as it was.
    """
    try:
        sock.listen(listen.backlog)
        if file is not None and os.stat(file[0]).st_ino == file[1]:
            os.chmod(file[0], listen.mode)
    except OSError as error:
        raise _listen_error(listen.address, error) from error
    return ListeningSocket(sock, view, listen.backlog, file, str(listen.parsed))


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


def _bind_unix(sock: socket.socket, path: str, mode: int) -> tuple[str, int] | None:
    """Bind to a socket file, replacing one that nobody listens on any more.

    The mode is set between bind and listen, when nobody can connect yet; a umask would be
    the whole process's.
    """
    if path.startswith("@"):
        sock.bind("\0" + path[1:])
        return None
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _is_stale(path):
            raise
        os.unlink(path)
        sock.bind(path)
    os.chmod(path, mode)
    return path, os.stat(path).st_ino


def _is_stale(path: str) -> bool:
    """Tell whether `path` is a socket file without a listener.

    Raises:
        OSError: EEXIST, it is no socket file.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED

"""A plugin that answers with what its processes may do: user as it is imported, and ports."""

import os
import socket

from host import hookimpl

IMPORTED_AS = os.getresuid()


def bind_reserved(port):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.2", port))
        except PermissionError:
            return "refused"
    return "bound"


def umask():
    found = os.umask(0)
    os.umask(found)
    return found


@hookimpl
def on_readable(connection):
    word = connection.read().strip()
    if word:
        port = int(word)
        connection.write(f"{IMPORTED_AS} {bind_reserved(port)} {umask():o}\n".encode())

"""A plugin that answers with what its processes may do, and what they are.

That is the user as it is imported, the signal that the process gets then when its parent dies,
whether a worker may bind a port, and its umask.
"""

import os
import socket

from host import hookimpl
from support.changing_user import signal_of_death

IMPORTED_AS, DIES_BY = os.getresuid(), signal_of_death()


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
        connection.write(f"{IMPORTED_AS} {DIES_BY} {bind_reserved(port)} {umask():o}\n".encode())

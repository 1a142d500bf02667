"""Opens what a host listens on: anew, or those that an exec has left open."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Sequence

from host.errors import ListenError
from host.net.activation import PassedSockets
from host.net.listeners import ListeningSocket
from host.net.socket_store import StoredSocket
from host.startup.prepare import Prepared
from host.supervisor.reload.handover import Handover, Socket
from host.supervisor.reload.sockets import take_listeners


def open_or_take(
    prepared: Prepared,
    handed: Handover | None,
    inherited: list[socket.socket],
    failed: str,
    passed: PassedSockets,
    stored: Sequence[StoredSocket],
) -> tuple[list[ListeningSocket], str]:
    """Return the listeners, bound now or before, and why the generation cannot start, or "".

    Args:
        prepared: what the host is to run with.
        handed: what the supervisor before an exec has handed over.
        inherited: the sockets in it; those that nobody uses any more are closed.
        failed: why the generation cannot start, if that is known already.
        passed: the sockets that a service manager has passed.
        stored: those that a host before this one has stored; what is not used of them is closed.

    Raises:
        ListenError: the machine refuses an address, and there was no supervisor before.
    """
    if handed is None:
        return _open_or_find(prepared, passed, stored), failed
    taken: list[ListeningSocket] = []
    if not failed:
        try:
            taken = take_listeners(prepared.served, handed.sockets, inherited, passed)
        except ListenError as error:
            failed = str(error)
    used = {inherited[number] for number in handed.serving.sockets}
    used |= {listener.sock for listener in taken}
    _close_unused(zip(handed.sockets, inherited, strict=True), used)
    return taken, failed


def _open_or_find(
    prepared: Prepared, passed: PassedSockets, stored: Sequence[StoredSocket]
) -> list[ListeningSocket]:
    """Return the listeners of a host that starts."""
    found = [
        Socket(
            fd=each.sock.fileno(),
            configured=each.configured,
            max_rate=0.0,
            address=each.address,
            file=each.file,
            source="stored",
        )
        for each in stored
    ]
    socks = [each.sock for each in stored]
    taken = take_listeners(prepared.served, found, socks, passed)
    _close_unused(zip(found, socks, strict=True), {listener.sock for listener in taken})
    return taken


def _close_unused(
    sockets: Iterable[tuple[Socket, socket.socket]], used: Collection[socket.socket]
) -> None:
    for each, sock in sockets:
        if sock not in used:
            if each.file is not None:
                each.file.remove()
            sock.close()
            for descriptor in each.others:
                os.close(descriptor)

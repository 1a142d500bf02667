"""Opens what a host listens on: anew, or those that an exec has left open."""

from __future__ import annotations

import os
import socket

from host.errors import ListenError
from host.net.activation import PassedSockets
from host.net.listeners import ListeningSocket
from host.startup.prepare import Prepared
from host.supervisor.reload.handover import Handover
from host.supervisor.reload.sockets import take_listeners


def open_or_take(
    prepared: Prepared,
    handed: Handover | None,
    inherited: list[socket.socket],
    failed: str,
    passed: PassedSockets,
) -> tuple[list[ListeningSocket], str]:
    """Return the listeners, bound now or before, and why the generation cannot start, or "".

    Args:
        prepared: what the host is to run with.
        handed: what the supervisor before an exec has handed over.
        inherited: the sockets in it; those that nobody uses any more are closed.
        failed: why the generation cannot start, if that is known already.
        passed: what a service manager has passed.

    Raises:
        ListenError: the machine refuses an address, and there was no supervisor before.
    """
    if handed is None:
        return take_listeners(prepared.served, (), (), passed), failed
    taken: list[ListeningSocket] = []
    if not failed:
        try:
            taken = take_listeners(prepared.served, handed.sockets, inherited, passed)
        except ListenError as error:
            failed = str(error)
    used = {inherited[number] for number in handed.serving.sockets}
    used |= {listener.sock for listener in taken}
    for each, sock in zip(handed.sockets, inherited, strict=True):
        if sock not in used:
            if each.file is not None:
                each.file.remove()
            sock.close()
            for descriptor in each.others:
                os.close(descriptor)
    return taken, failed

"""Opens what a host listens on: anew, or those that an exec has left open."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Sequence
from errno import EADDRINUSE

from host.control.server import ControlServer
from host.errors import ListenError
from host.interfaces import Listener
from host.net.activation import PassedSockets
from host.net.listeners import ListeningSocket
from host.net.socket_store import StoredSocket
from host.runtime.accounts import Account
from host.settings import Listen, Settings
from host.startup.prepare import Prepared
from host.supervisor.reload.handover import Handover, Socket
from host.supervisor.reload.sockets import take_listeners
from host.telemetry.emitter import Telemetry
from host.telemetry.events import ADMIN_UNAVAILABLE
from host.text import reason


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
        return open_or_find(prepared.served, passed, stored), failed
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


def open_or_find(
    served: Sequence[tuple[Listen, str]],
    passed: PassedSockets,
    stored: Sequence[StoredSocket],
    account: Account | None = None,
) -> list[ListeningSocket]:
    """Return the listeners of a host that starts.

    Args:
        served: what to listen on, and the plugin that serves it.
        passed: the sockets that a service manager has passed.
        stored: those that a host before this one has stored; what is not used of them is closed.
        account: the user that this process, which is root's, is about to become; None if none.

    Raises:
        ListenError: the machine refuses an address.
    """
    found = [
        Socket(
            fd=each.sock.fileno(),
            configured=each.configured,
            max_rate=0.0,
            max_connections=0,
            address=each.address,
            file=each.file,
            source="stored",
        )
        for each in stored
    ]
    socks = [each.sock for each in stored]
    taken = take_listeners(served, found, socks, passed, account)
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


def assign_listeners(
    served: Iterable[tuple[Listen, str]], opened: Sequence[ListeningSocket]
) -> None:
    """Say which plugin serves each listener that was opened before that was known.

    Args:
        served: what they were opened for, in that order, and the plugin that serves it.
        opened: the listeners.
    """
    for index, ((listen, plugin), each) in enumerate(zip(served, opened, strict=True)):
        each.view = Listener(index, each.view.address, plugin)
        if each.sock.family == socket.AF_UNIX and not each.is_kept:
            each.sock.listen(listen.backlog)  # so that clients see this user (SO_PEERCRED, unix(7))


def open_control(
    settings: Settings, telemetry: Telemetry, handed: Handover | None
) -> socket.socket | None:
    """Return the control socket, bound now or before an exec; None if there is none to be had."""
    before = handed.control if handed else None
    if before is not None:
        sock = socket.socket(fileno=before[1])
        if settings.admin.enabled and before[0] == settings.name:
            return sock
        sock.close()
    if not settings.admin.enabled:
        return None
    try:
        return ControlServer.bind(settings.name)
    except OSError as error:
        address, cause = f"@prefork/{settings.name}", reason(error)
        if error.errno == EADDRINUSE:
            cause = f"{ControlServer.owner(settings.name)} has it"
        telemetry.emit(ADMIN_UNAVAILABLE, address=address, cause=cause)
        return None

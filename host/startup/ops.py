"""Where a host shows how it is."""

from __future__ import annotations

from collections.abc import Sequence

from host.errors import ListenError
from host.net.activation import PassedSockets
from host.net.listeners import ListeningSocket
from host.runtime.accounts import Account
from host.settings import Settings
from host.startup.listening import open_or_find
from host.supervisor.reload.handover import Handover
from host.supervisor.reload.sockets import bound_before, naming_own, take_listeners

_PLUGIN = "ops"
"""Stands for a plugin's name where listeners have one."""


def open_ops(
    settings: Settings,
    passed: PassedSockets,
    listeners: Sequence[ListeningSocket],
    account: Account | None = None,
) -> list[ListeningSocket]:
    """Return the listeners of a host that starts.

    Args:
        settings: its settings.
        passed: the sockets that a service manager has passed.
        listeners: what it serves at; all are closed if an address is refused.
        account: the user that this process, which is root's, is about to become; None if none.

    Raises:
        ListenError: the machine refuses an address.
    """
    served = [(listen, _PLUGIN) for listen in settings.ops.listens]
    try:
        with naming_own((), listeners):
            return open_or_find(served, passed, (), account)
    except ListenError:
        for each in listeners:
            each.close()
        raise


def open_or_take_ops(
    settings: Settings,
    handed: Handover | None,
    passed: PassedSockets,
    failed: str,
    listeners: Sequence[ListeningSocket],
) -> tuple[list[ListeningSocket], str]:
    """Return the listeners, bound now or before, and why the new generation cannot start, or "".

    Args:
        settings: those that the host goes on with.
        handed: what was handed over; sockets in it that are not wanted any more are closed.
        passed: the sockets that a service manager has passed.
        failed: why the generation cannot start, if that is known already.
        listeners: what the host serves at; if it starts, all are closed if an address is refused.

    Raises:
        ListenError: the machine refuses an address, and there was no supervisor before.
    """
    if handed is None:
        return open_ops(settings, passed, listeners), failed
    inherited = bound_before(handed.ops)
    served = [(listen, _PLUGIN) for listen in settings.ops.listens]
    try:
        taken = take_listeners(served, handed.ops, inherited, passed)
    except ListenError as error:
        taken, failed = [], failed or str(error)
    used = {listener.sock for listener in taken}
    for known, sock in zip(handed.ops, inherited, strict=True):
        if sock not in used:
            if known.file is not None:
                known.file.remove()
            sock.close()
    return taken, failed

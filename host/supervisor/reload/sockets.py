"""Inheritance: finds, among the sockets that are bound already, those that settings ask for."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from host.interfaces import Listener
from host.net.listeners import ListeningSocket, inherit_listener, open_listener
from host.settings import Listen
from host.supervisor.reload.handover import Socket


def bound_before(sockets: Iterable[Socket]) -> list[socket.socket]:
    """Return the sockets that an exec has left open."""
    return [socket.socket(fileno=each.fd) for each in sockets]


def open_missing(
    listens: Iterable[Listen], held: Sequence[ListeningSocket]
) -> list[ListeningSocket]:
    """Open the sockets that are not among those held; all of them, or none.

    Raises:
        ListenError: the machine refuses one of them.
    """
    left = {each.fileno(): each.configured for each in held}
    opened: list[ListeningSocket] = []
    try:
        for listen in listens:
            wanted = str(listen.parsed)
            found = next((fd for fd, configured in left.items() if configured == wanted), None)
            if found is None:
                opened.append(open_listener(listen, 0, listen.plugin or ""))
            else:
                del left[found]
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def take_listeners(
    served: Iterable[tuple[Listen, str]], handed: Sequence[Socket], socks: Sequence[socket.socket]
) -> list[ListeningSocket]:
    """Return a listener for each that settings ask for, bound already or, if need be, now.

    Args:
        served: what to listen on, and the plugin that serves it.
        handed: the sockets that were handed over.
        socks: the same as socket objects.

    Raises:
        ListenError: the machine refuses one of them; none is left open that was opened here.
    """
    left = list(zip(handed, socks, strict=True))
    taken: list[ListeningSocket] = []
    opened: list[ListeningSocket] = []
    try:
        for index, (listen, plugin) in enumerate(served):
            wanted = str(listen.parsed)
            found = next((each for each in left if each[0].configured == wanted), None)
            if found is None:
                opened.append(open_listener(listen, index, plugin))
                taken.append(opened[-1])
                continue
            left.remove(found)
            view = Listener(index, found[0].address, plugin)
            taken.append(inherit_listener(found[1], listen, view, found[0].file))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return taken

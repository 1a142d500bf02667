"""Which of the sockets that are bound already are those that settings ask for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from errno import EADDRINUSE, EPERM
from typing import Generic, NamedTuple, TypeVar

from host.errors import ListenError
from host.interfaces import Listener
from host.net.activation import PassedSockets, Supply
from host.net.listeners import ListeningSocket, inherit_listener, open_listener
from host.net.shards import ShardGroup, open_group
from host.net.socket_files import SocketFile
from host.runtime.accounts import Account
from host.settings import Listen
from host.settings.address import parse
from host.supervisor.reload.handover import Socket

Existing = TypeVar("Existing")


def bound_before(sockets: Iterable[Socket]) -> list[socket.socket]:
    """Return the sockets that an exec has left open."""
    return [socket.socket(fileno=each.fd) for each in sockets]


def bound_socket(known: Socket, sock: socket.socket, view: Listener) -> ListeningSocket:
    """Return the listener of a socket that was handed over, as it was before the exec."""
    if parse(known.configured).is_udp:
        return ShardGroup(sock, known.others, view, known.configured)
    rate, places = known.max_rate, known.max_connections
    found = ListeningSocket(sock, view, 0, known.file, known.configured, rate, places)
    found.source = known.source
    return found


def open_missing(
    listens: Iterable[Listen], existing: Sequence[ListeningSocket], passed: PassedSockets
) -> list[ListeningSocket]:
    """Open the sockets that are not among the existing ones; all of them, or none.

    One whose file is gone or somebody else's does not count: nobody can connect to it. If another
    cannot be opened in its place, it has to do, as it did before.

    Args:
        listens: what to listen on.
        existing: the sockets that there are.
        passed: those that a service manager has passed.

    Raises:
        ListenError: the machine refuses one of them, or the file of one that is there may not be
            changed as the settings ask for.
    """
    wanted = list(listens)
    supply = passed.supply(wanted)
    different = {each.fileno(): each for each in existing}.values()  # two generations may have one
    matches = match_sockets(wanted, different, lambda each: (each.configured, each.file))
    with _opening(each.view.address for each in different) as opened:
        for listen, match in zip(wanted, matches, strict=True):
            if match.socket is not None:
                _check_file(listen, match.socket.file)
                continue
            try:
                opened.append(_open(listen, 0, listen.plugin or "", supply))
            except ListenError:
                if match.lost is None:
                    raise
    return opened


def changed_shards(listens: Iterable[Listen], existing: Iterable[ListeningSocket]) -> str:
    """Return why groups of UDP sockets cannot go on as the settings ask for, or "".

    With a socket more or less in its group the kernel would send clients elsewhere.
    """
    wanted = [each for each in listens if each.parsed.is_udp]
    groups = {each.fileno(): each for each in existing if isinstance(each, ShardGroup)}
    matches = match_sockets(wanted, groups.values(), lambda each: (each.configured, None))
    changes = [
        f"shards of {listen.address} change from {len(found.socket.shards)} to {listen.shards}"
        for listen, found in zip(wanted, matches, strict=True)
        if found.socket is not None and len(found.socket.shards) != listen.shards
    ]
    return f"{', '.join(changes)}, which takes a restart" if changes else ""


def take_listeners(
    served: Iterable[tuple[Listen, str]],
    handed: Sequence[Socket],
    socks: Sequence[socket.socket],
    passed: PassedSockets,
    account: Account | None = None,
) -> list[ListeningSocket]:
    """Return a listener for each that settings ask for, bound already or, if need be, now.

    What `open_missing` says of lost files holds here too; a listener that goes on without its file
    has as `trouble` why it gets no other.

    Args:
        served: what to listen on, and the plugin that serves it.
        handed: the sockets that were handed over.
        socks: the same as socket objects.
        passed: those that a service manager has passed.
        account: the user that this process, which is root's, is about to become; None if none.

    Raises:
        ListenError: the machine refuses one of them; none is left open that was opened here.
    """
    wanted, existing = list(served), list(zip(handed, socks, strict=True))
    listens = [each for each, _ in wanted]
    supply = passed.supply(listens)
    matches = match_sockets(listens, existing, lambda each: (each[0].configured, each[0].file))
    taken: list[ListeningSocket] = []
    with _opening(each.address for each in handed) as opened:
        for index, ((listen, plugin), found) in enumerate(zip(wanted, matches, strict=True)):
            match, trouble = found.socket, ""
            if match is None:
                try:
                    opened.append(_open(listen, index, plugin, supply, account))
                    taken.append(opened[-1])
                    continue
                except ListenError as error:
                    if found.lost is None:
                        raise
                    match, trouble = found.lost, f"{os.strerror(error.errno)}; {error.advice}"
            known, sock = match
            view = Listener(index, known.address, plugin)
            if listen.parsed.is_udp:
                taken.append(bound_socket(known, sock, view))
                continue
            taken.append(inherit_listener(sock, listen, view, known.file))
            taken[-1].trouble, taken[-1].source = trouble, known.source
    return taken


def _open(
    listen: Listen, index: int, plugin: str, supply: Supply, account: Account | None = None
) -> ListeningSocket:
    if listen.parsed.is_udp:
        return open_group(listen, index, plugin)
    return open_listener(listen, index, plugin, supply, account)


def _check_file(listen: Listen, file: SocketFile | None) -> None:
    """Raise ListenError if the file of a socket may not be changed as the settings ask for."""
    try:
        if file is not None:
            file.check_wanted(listen)
    except OSError as error:
        advice = "its mode, owner or group changes, which only its owner or root may do: restart"
        raise ListenError(listen.address, error.errno or EPERM, advice) from error


class Match(NamedTuple, Generic[Existing]):
    """What there is already for an address that is wanted.

    Attributes:
        socket: a socket that was bound for it, or None.
        lost: if there is none, one whose file is gone or somebody else's, or None.
    """

    socket: Existing | None
    lost: Existing | None


def match_sockets(
    wanted: Iterable[Listen],
    existing: Iterable[Existing],
    bound: Callable[[Existing], tuple[str, SocketFile | None]],
) -> list[Match[Existing]]:
    """Return what there is for each address that is wanted.

    Each socket is returned once: port 0 may be asked for several times.

    Args:
        wanted: what is to be listened on.
        existing: the sockets that there are.
        bound: tells the address that a socket was bound for, as the settings had it, and its file.
    """
    usable: dict[str, list[Existing]] = {}
    lost: dict[str, list[Existing]] = {}
    for each in existing:
        address, file = bound(each)
        where = usable if file is None or file.state == "present" else lost
        where.setdefault(address, []).append(each)
    matches = []
    for listen in wanted:
        found, without_file = (
            which[address].pop(0) if which.get(address := str(listen.parsed)) else None
            for which in (usable, lost)
        )
        matches.append(Match(found, None if found is not None else without_file))
    return matches


@contextmanager
def _opening(existing: Iterable[str]) -> Iterator[list[ListeningSocket]]:
    """Yield a list for listeners that are opened; an error closes them all.

    Args:
        existing: the addresses that this host listens on already.
    """
    opened: list[ListeningSocket] = []
    try:
        with naming_own(existing, opened):
            yield opened
    except BaseException:
        for listener in opened:
            listener.close()
        raise


@contextmanager
def naming_own(
    addresses: Iterable[str], opened: Collection[ListeningSocket] = ()
) -> Iterator[None]:
    """Say so if a listener of this host itself has an address which cannot be had.

    Args:
        addresses: those that this host listens on.
        opened: listeners that it has besides.

    Raises:
        ListenError: the same error, with the address of that listener.
    """
    try:
        yield
    except ListenError as error:
        if error.errno == EADDRINUSE:
            for own in [*addresses, *(listener.view.address for listener in opened)]:
                if _has_same(own, error.address):
                    advice = f"this host listens on {own} itself: choose another address"
                    raise ListenError(error.address, error.errno, advice) from error
        raise


def _has_same(own: str, wanted: str) -> bool:
    """Tell whether an address is in the way of another: `*` has the port of all others, too."""
    scheme, _, place = wanted.partition(":")
    if not own.startswith(f"{scheme}:"):
        return False
    if scheme == "unix":
        return os.path.realpath(own.partition(":")[2]) == os.path.realpath(place)
    return own.rpartition(":")[2] == wanted.rpartition(":")[2]

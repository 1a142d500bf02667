"""Opens what root alone may open, then becomes the user of the settings: before any plugin."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from host.net.listeners import ListeningSocket
from host.runtime import privileges, processes
from host.runtime.accounts import Account, AccountError, account
from host.runtime.guided import LedError, check_folder
from host.settings import Listen, Loaded, Problem, SettingsError
from host.startup.given import Given
from host.startup.limits import max_connections
from host.startup.listening import open_control, open_or_find
from host.startup.ops import open_ops
from host.startup.prepare import check_owners, count_sockets, keep_certificates, listens
from host.telemetry.emitter import Telemetry
from host.text import reason


class Opened(NamedTuple):
    """What a host has opened, or its predecessor.

    Attributes:
        listeners: what the host listens on; `assign_listeners` says which plugin serves each, if
            root has opened them before that was known.
        control: the control socket, if there is one.
        ops: where it shows how the host is.
        kept: what root has read of certificates that the user may not read, if there are any.
    """

    listeners: list[ListeningSocket]
    control: socket.socket | None
    ops: list[ListeningSocket]
    kept: int | None

    def close(self) -> None:
        """Close all of it: the host does not start."""
        for listener in (*self.listeners, *self.ops):
            listener.close()
        if self.control is not None:
            self.control.close()
        if self.kept is not None:
            os.close(self.kept)


def wanted_account(loaded: Loaded) -> Account | None:
    """Return the user that this process is to become; None if it stays who it is.

    Raises:
        SettingsError: there is no such user or group, or this process may not become it.
    """
    settings = loaded.settings.process
    if not settings.user:
        return None
    try:
        wanted = account(settings.user, settings.group)
    except AccountError as error:
        raise _unusable(loaded, str(error), error.kind) from None
    if wanted.is_current:
        return None
    if os.geteuid() != 0:
        own = f"uid {os.geteuid()} and gid {os.getegid()}"
        raise _unusable(
            loaded,
            f"only root may become another user (uid {wanted.uid}, gid {wanted.gid}), and this"
            f" process has {own}: start the host as root, or as that user",
        )
    if wanted.uid == 0:
        raise _unusable(loaded, "that is root, and it is root that is given up: leave it out")
    return wanted


def open_and_become(loaded: Loaded, wanted: Account, given: Given, telemetry: Telemetry) -> Opened:
    """Open what root alone may open, then be that user for good; an error leaves nothing open.

    What the user may open itself is opened as that user, in folders of its own first of all: there
    it could lead root anywhere by links.

    Raises:
        SettingsError, ListenError, LimitsError: something cannot be opened, or root not given up.
    """
    settings = loaded.settings
    check_owners(loaded)
    served: list[tuple[Listen, str]] = [(listen, "") for listen in listens(settings)]
    max_connections(settings.limits, count_sockets(served))  # root alone raises a hard limit
    _make_profile_folder(settings.profile.directory, wanted)
    with ExitStack() as closing:
        listeners = open_or_find(served, given.passed, given.stored, wanted)
        control = open_control(settings, telemetry, None)
        ops = open_ops(settings, given.passed, listeners, wanted)
        opened = Opened(listeners, control, ops, keep_certificates(loaded, wanted))
        closing.callback(opened.close)
        if opened.kept is not None:
            processes.hide_memory()  # the kernel keeps that over the change of the user
        become(loaded, wanted)
        closing.pop_all()
    return opened


def become(loaded: Loaded, wanted: Account) -> None:
    """Be that user for good, and keep what the settings say.

    Raises:
        SettingsError: the kernel does not let this process, or the user may not read the host.
    """
    try:
        privileges.become(wanted, keep_bind="bind" in loaded.settings.process.keep)
    except OSError as error:
        needs = "it takes CAP_SETUID and CAP_SETGID, and CAP_NET_BIND_SERVICE to keep it"
        raise _unusable(loaded, f"root cannot be given up here: {reason(error)}; {needs}") from None
    for path in (os.__file__, __file__):  # modules are read until the host ends
        if not os.access(path, os.R_OK):
            cure = "install Python and the host where it may, not in a home of root's"
            raise _unusable(loaded, f"that user may not read {path}: {cure}")


def summary(loaded: Loaded) -> str:
    """Return which user a host becomes that is started by root, in words; "" if none.

    Raises:
        SettingsError: there is no such user or group.
    """
    settings = loaded.settings.process
    if not settings.user:
        return ""
    try:
        found = account(settings.user, settings.group)
    except AccountError as error:
        raise _unusable(loaded, str(error), error.kind) from None
    kept = "CAP_NET_BIND_SERVICE, so that a reload can add ports below 1024"
    nothing = "nothing, so that no reload can add ports below 1024"
    return (
        f"started by root, it becomes {found.name} (uid {found.uid}, gid {found.gid}) before it"
        f" loads plugins, and keeps {kept if settings.keep else nothing}"
    )


def _make_profile_folder(directory: str, wanted: Account) -> None:
    """Make the folder where the user may not; whether profiles can be written is seen later."""
    if not directory or "\0" in directory:
        return
    path = Path(directory)
    try:
        with privileges.acting_as(wanted):
            path.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        with suppress(OSError, LedError):
            there = next(each for each in path.absolute().parents if each.exists())
            check_folder(str(there), wanted)
            path.mkdir(parents=True)
            os.chown(path, wanted.uid, wanted.gid, follow_symlinks=False)
    except OSError:  # it is told when the user is to write there
        pass


def _unusable(
    loaded: Loaded, message: str, kind: Literal["user", "group"] = "user"
) -> SettingsError:
    key, value = f"process.{kind}", getattr(loaded.settings.process, kind)
    where = f"from {loaded.origin(key)}"
    return SettingsError([Problem(key, f'"{value}"', message, where)])

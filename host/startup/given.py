"""What a process that is to be a supervisor was given: by the one before it, or from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

from host.errors import HostError
from host.net import activation, socket_store
from host.net.activation import Passed, PassedSockets
from host.net.socket_store import StoredSocket
from host.runtime import notifications
from host.runtime.notifications import Notifier
from host.settings import SettingsError
from host.supervisor.reload.handover import Handover, receive
from host.text import printable

_MOST_CHARACTERS = 500


class Given(NamedTuple):
    """What this process was given.

    Attributes:
        handed: what the supervisor before an exec has handed over; None if there was none.
        passed: the sockets that a service manager has passed.
        stored: those among them that a host before this one has stored.
        stored_inodes: the inode of each of these, by its name.
        notifier: tells the service manager, if there is one.
    """

    handed: Handover | None
    passed: PassedSockets
    stored: Sequence[StoredSocket]
    stored_inodes: Mapping[str, int]
    notifier: Notifier | None

    @contextmanager
    def telling_failure(self) -> Iterator[None]:
        """Have the service manager know why the host cannot start."""
        try:
            yield
        except (HostError, SettingsError) as error:
            if self.notifier is not None:
                words = f"STATUS=cannot start: {' '.join(str(error).split())}"
                # Another one: the supervisor may have closed its own. Standard error is told, too.
                with suppress(OSError), closing(Notifier(self.notifier.address)) as notifier:
                    notifier.send(printable(words)[:_MOST_CHARACTERS])
            raise


def given_to_this_process() -> Given:
    """Return what this process was given; the variables leave the environment.

    Raises:
        SettingsError, HostError: see `receive`.
    """
    handed = receive()
    if handed is None:
        stored, passed = socket_store.find(activation.take())
        inodes = {each.name: socket_store.inode(each.sock) for each in stored}
        return Given(None, passed, stored, inodes, notifications.take())
    before = handed.service
    notifier = Notifier(before.address, before.watchdog_seconds) if before else None
    return Given(handed, PassedSockets(map(Passed._make, handed.passed)), (), {}, notifier)

"""What a process that is to be a supervisor was given: by the one before it, or from outside."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

from host.errors import HostError
from host.net import activation, socket_store
from host.net.activation import Passed, PassedSockets
from host.net.socket_store import StoredSocket, removal
from host.runtime import notifications
from host.runtime.notifications import MOST_CHARACTERS, Notifier
from host.runtime.origin import Origin
from host.settings import Listen, SettingsError
from host.supervisor.reload.handover import Handover, receive
from host.text import printable

_PATIENCE_SECONDS = 5.0


class Given(NamedTuple):
    """What this process was given.

    Attributes:
        handed: what the supervisor before an exec has handed over; None if there was none.
        passed: the sockets that a service manager has passed.
        stored: those among them that a host before this one has stored.
        stored_inodes: the inode of each of these, by its name.
        notifier: tells the service manager, if there is one.
        origin: variables and working directory that this process was started with.
        kept: what root has read of certificates that the user may not read, if there are any.
        foreign: descriptors that are not the host's: it has inherited them, or plugins have opened
            them while they were loaded.
    """

    handed: Handover | None
    passed: PassedSockets
    stored: Sequence[StoredSocket]
    stored_inodes: Mapping[str, int]
    notifier: Notifier | None
    origin: Origin
    kept: int | None = None
    foreign: frozenset[int] = frozenset()

    @property
    def sockets(self) -> set[int]:
        """The descriptors of all sockets that a service manager has passed."""
        return {each.fd for each in self.passed.sockets} | {
            each.sock.fileno() for each in self.stored
        }

    def keeping(self, listens: Iterable[Listen]) -> Given:
        """Return this without stored sockets that are not wanted.

        They are closed, here and in the store, before another listener may need their addresses.
        """
        wanted = {str(listen.parsed) for listen in listens}
        unwanted = [each for each in self.stored if each.configured not in wanted]
        if not unwanted:
            return self
        for each in unwanted:
            each.sock.close()
            if each.file is not None:
                each.file.remove()
        gone = {each.name for each in unwanted}
        if self.notifier is not None:
            with suppress(OSError):  # nobody takes it: an address may be refused, which is told
                for name in gone:
                    self.notifier.send(removal(name))
                self.notifier.wait(_PATIENCE_SECONDS)
        return self._replace(
            stored=[each for each in self.stored if each.name not in gone],
            stored_inodes={
                name: inode for name, inode in self.stored_inodes.items() if name not in gone
            },
        )

    def close_kept(self) -> None:
        """Close what root has read, in a worker: it has its contexts."""
        if self.kept is not None:
            os.close(self.kept)

    @contextmanager
    def telling_failure(self) -> Iterator[None]:
        """Have the service manager know why the host cannot start; close what tells it."""
        try:
            yield
        except (HostError, SettingsError) as error:
            if self.notifier is not None:
                words = f"STATUS=cannot start: {' '.join(str(error).split())}"
                # Another one: the supervisor may have closed its own. Standard error is told, too.
                with suppress(OSError), closing(Notifier(self.notifier.address)) as notifier:
                    notifier.send(printable(words)[:MOST_CHARACTERS])
            raise
        finally:
            if self.notifier is not None:
                self.notifier.close()


def given_to_this_process() -> Given:
    """Return what this process was given; the variables leave the environment.

    Raises:
        SettingsError, HostError: see `receive`.
    """
    handed = receive()
    if handed is None:
        stored, passed = socket_store.find(activation.take())
        inodes = {each.name: socket_store.inode(each.sock) for each in stored}
        return Given(None, passed, stored, inodes, notifications.take(), Origin.here())
    before = handed.service
    notifier = Notifier(before.address, before.watchdog_seconds) if before else None
    passed = PassedSockets(map(Passed._make, handed.passed))
    return Given(handed, passed, (), {}, notifier, Origin.here(), handed.kept)

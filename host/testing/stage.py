"""What a scene of a chaos run has: a host, its processes, peers of it."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGSTOP

from host.testing.conversation import Conversation, Exchange, NotConformingError
from host.testing.machine import Stopwatch, patience
from host.testing.peer import Peer
from host.testing.running import RunningHost
from host.testing.transports import Transport

_WRONG = (
    *("hook_failed", "worker_died", "worker_hung", "worker_killed", "worker_start_failed"),
    *("generation_failed", "reload_failed", "writes_lost", "host_bug", "thread_failed"),
)
"""The events that tell of something that must not happen, unless a scene has brought it about."""
_IN_VAIN = ("generation_failed", "reload_failed", "worker_start_failed")
"""The events after which nobody needs to wait for workers."""


class Stage:
    """A host that serves one protocol over one transport, and what can be done to it.

    Args:
        host: the host; whoever has started it ends it.
        transport: how peers reach it.
        talk: the conversation.
        seconds: how long anything may take on an idle machine.
        least: for how many seconds, of any machine, a reply is waited for at least.
    """

    def __init__(
        self,
        host: RunningHost,
        transport: Transport,
        talk: Conversation,
        seconds: float,
        least: float,
    ) -> None:
        self.host, self.transport, self.talk = host, transport, talk
        self.seconds, self._least = seconds, least
        self._mark = host.mark()
        self._allowed: set[str] = set()

    def connect(self) -> Peer:
        """Return a peer that is connected, and greeted by nobody yet; the caller closes it."""
        sock = self.transport.connect(self.host, patience(self.seconds))
        return Peer(sock, self.seconds, self._least)

    @contextmanager
    def peer(self) -> Iterator[Peer]:
        """Connect, wait for the greeting, and disconnect at the end."""
        with self.connect() as peer:
            peer.greeted(self.talk.greeting)
            yield peer

    def serves(self, exchanges: Sequence[Exchange], when: str) -> None:
        """See that a new connection is served.

        Args:
            exchanges: what is said on it.
            when: after what, for messages.
        """
        try:
            with self.peer() as peer:
                peer.hold(exchanges)
        except NotConformingError as error:
            raise NotConformingError(f"a new connection {when}: {error}") from error

    def allow(self, *events: str) -> None:
        """Take events of these names for a consequence of what the scene does."""
        self._allowed.update(events)

    def complaints(self) -> list[str]:
        """Return what the host has told of that must not happen, a sentence each."""
        return [
            event["message"]
            for event in self.host.events(since=self._mark)
            if event["event"] in _WRONG and event["event"] not in self._allowed
        ]

    def wait_for(self, name: str, count: int = 1) -> None:
        """Wait for an event since the scene began.

        Raises:
            NotConformingError: it does not come, or what comes says that it will not.
        """
        while len(self.host.events(name, self._mark)) < count:
            events = self.host.events(since=self._mark)
            if any(event["event"] in _IN_VAIN for event in events):
                raise NotConformingError(f"the host does not come to {name}")
            try:
                self.host.wait_for(
                    None, since=self._mark, count=len(events) + 1, seconds=4 * self.seconds
                )
            except AssertionError as error:
                raise NotConformingError(f"the host does not come to {name} in time") from error

    def kill_workers(self) -> None:
        """Kill all workers (SIGKILL)."""
        self.allow("worker_died")
        for slot in self.host.workers:
            self.host.kill_worker(slot)

    @contextmanager
    def stopped_workers(self) -> Iterator[None]:
        """Stop all workers (SIGSTOP), and let them go on (SIGCONT) at the end."""
        workers = self.host.workers
        for slot in workers:
            self.host.kill_worker(slot, SIGSTOP)
        try:
            for pid in workers.values():
                # It stops where it goes from system call to program, which nobody is told of.
                self._eventually(partial(_is_stopped, pid), "workers stop")
            yield
        finally:
            for slot in workers:
                self.host.kill_worker(slot, SIGCONT)

    @contextmanager
    def no_descriptors(self) -> Iterator[None]:
        """Leave no worker a free descriptor (RLIMIT_NOFILE, getrlimit(2)), until the end."""
        before = {}
        try:
            for pid in self.host.workers.values():
                before[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                used = set(descriptors(pid))
                free = next(number for number in range(len(used) + 1) if number not in used)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, before[pid][1]))
            yield
        finally:
            for pid, limits in before.items():
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)

    def reload(self) -> None:
        """Reload, and wait until the workers that were there have been told to drain."""
        workers = self.host.workers
        self.host.signal(SIGHUP)
        self.wait_for("generation_ready")
        for pid in workers.values():
            self._eventually(partial(_share_no_socket, pid, self.host.pid), "workers drain")

    def open_descriptors(self) -> Counter[str]:
        """Return what the workers have open."""
        return Counter(
            what for pid in self.host.workers.values() for what in descriptors(pid).values()
        )

    def left_open(self, before: Counter[str], many: int) -> list[str]:
        """Wait until the workers have closed what they have opened since.

        Args:
            before: what they had open.
            many: how much more they must not have, to be called a leak.

        Returns:
            What that is, if they do not close it in time.
        """
        wait = Stopwatch()
        while (more := self.open_descriptors() - before).total() >= many:
            if wait.has_passed(self.seconds):
                return sorted(more.elements())
            os.sched_yield()
        return []

    def _eventually(self, condition: Callable[[], bool], what: str) -> None:
        wait = Stopwatch()
        while not condition():
            if wait.has_passed(self.seconds):
                raise NotConformingError(f"within {wait.seconds:.1f} s it did not happen: {what}")
            os.sched_yield()


def descriptors(pid: int) -> dict[int, str]:
    """Return what a process has open, by number (proc_pid_fd(5)); nothing if it has ended."""
    found = {}
    with suppress(FileNotFoundError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found[int(link.name)] = os.readlink(link)
    return dict(sorted(found.items()))


def _share_no_socket(worker: int, supervisor: int) -> bool:
    """Tell whether a worker has closed its listening sockets, which the supervisor has, too.

    It does so when it begins to drain, before it tells its connections.
    """
    return not any(
        what.startswith("socket:")
        for what in {*descriptors(worker).values()} & {*descriptors(supervisor).values()}
    )


def _is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped (proc_pid_stat(5)), or has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2][0]
    except FileNotFoundError:
        return True
    return state == "T"

"""Processes that plugins have left behind: found, reported, and ended if they are forks.

The supervisor adopts every descendant whose parent has ended (prctl(2), PR_SET_CHILD_SUBREAPER), so
it sees them among its children and reaps them when they end. It looks only when a child has ended,
for that is when others may have been left behind. A fork of a worker has nothing to go on with but
the host's own code and memory, so it is ended. A program that a plugin has executed may be meant to
go on. A process of a pool has no worker any more to do anything for.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from host.runtime import forks, lineage, processes
from host.runtime.lineage import Kin
from host.runtime.loop import Loop, TimerHandle
from host.supervisor.workers.handles import Workers
from host.telemetry.emitter import Telemetry
from host.telemetry.events import FORKS_ENDED, PROGRAMS_FOUND
from host.text import listed

_AT_ONCE = 50
"""How many are looked at in one turn of the loop: each takes up to a millisecond."""
_MAX_LISTED = 20
_PATIENCE_SECONDS = 1.0
"""How long the end of the host waits for what it has killed."""


class Orphans:
    """Looks after processes that plugins have left behind.

    Args:
        loop: its next turns go on where one has had enough.
        workers: the workers, which are no orphans.
        rehearses: tells whether a child is a rehearsal, by its pid.
        generation: the number of the newest generation.
        plugins: the names of the plugins in its workers.
    """

    def __init__(
        self,
        loop: Loop,
        telemetry: Telemetry,
        workers: Workers,
        rehearses: Callable[[int], bool],
        generation: int,
        plugins: Sequence[str],
    ) -> None:
        self._loop, self._telemetry = loop, telemetry
        self._workers, self._rehearses = workers, rehearses
        self._generation, self._plugins = generation, plugins
        self._known: set[int] = set()
        self._killed: set[int] = set()
        self._later: TimerHandle | None = None

    def begin(self) -> None:
        """Adopt orphans from now on; this supervisor has forked no worker yet.

        Programs that are children already were started by plugins of the supervisor, or reported
        before an exec. But forks of workers and of rehearsals may have come since.
        """
        processes.adopt_orphans()
        self.pass_over()
        self._handle("a process during the reload", self._new())

    def pass_over(self) -> None:
        """Report no program that is a child now: plugins of the supervisor have started it."""
        self._known.update(pid for pid in self._new() if lineage.kin(pid) is not Kin.CHILD)

    def look(self, pid: int) -> None:
        """Report the orphans that are new, and end those that are forks of a worker.

        Args:
            pid: who has just ended: a worker that has not been let go yet, or another process.
        """
        if new := self._new():
            self._handle(self._describe(pid), new)

    def look_soon(self, pid: int) -> None:
        """Look in the next turn of the loop, once for all that have ended in this one."""
        self._handle_soon(self._describe(pid))

    def _handle_soon(self, owner: str) -> None:
        if self._later is None:
            self._later = self._loop.call_at(self._loop.now, lambda: self._handle_now(owner))

    def _handle_now(self, owner: str) -> None:
        self._later = None
        self._handle(owner, self._new())

    def _handle(self, owner: str, orphans: Sequence[int]) -> None:
        """Report and end orphans, some now and others in the next turn."""
        forks.exit_if_plugin_fork()
        some = orphans[:_AT_ONCE]
        self._known.update(some)
        ended: list[str] = []
        left: list[str] = []
        for pid, name, kin in _living(some):
            if kin is Kin.POOL:  # it ends with its worker: a task may have set it free from that
                _kill(pid)
                self._killed.add(pid)
                continue
            is_ended = kin is Kin.CHILD and _kill(pid)
            if is_ended:
                self._killed.add(pid)
            (ended if is_ended else left).append(f"{pid} ({name})")
        self._tell(owner, ended, left)
        if len(orphans) > len(some):
            self._handle_soon(owner)

    def end(self) -> None:
        """Report all that is left at the end of the host; end and reap what is a fork of it.

        That takes a second at most, and no time if there is nothing to end.
        """
        forks.exit_if_plugin_fork()
        due = time.monotonic() + _PATIENCE_SECONDS
        ended: list[str] = []
        left: list[str] = []
        handled: set[int] = set()
        while new := [pid for pid in processes.children() if pid not in handled]:
            handled.update(new)
            ending = set(new)
            for pid, name, kin in _living(new):
                is_ended = kin is not Kin.STRANGER and _kill(pid)
                if not is_ended:
                    ending.remove(pid)
                is_own = self._workers.get(pid) is not None or kin is Kin.POOL
                if not is_own and pid not in self._killed:
                    (ended if is_ended else left).append(f"{pid} ({name})")
            for pid in ending:
                with suppress(OSError):  # a plugin has reaped it
                    processes.has_ended(pid, max(0.0, due - time.monotonic()))
            for _ in processes.reap():  # their children have come to this process
                pass
            if time.monotonic() > due:
                break
        self._tell("the host", ended, left)

    def _new(self) -> list[int]:
        """Return the children that nothing is known of, and forget known ones that are gone."""
        pids = processes.children()
        self._known.intersection_update(pids)
        self._killed.intersection_update(pids)
        get = self._workers.get
        return [
            pid
            for pid in pids
            if pid not in self._known and get(pid) is None and not self._rehearses(pid)
        ]

    def _describe(self, pid: int) -> str:
        """Return how the log names a process that has ended."""
        handle = self._workers.get(pid)
        if handle is None:
            return f"{'a rehearsal' if self._rehearses(pid) else 'a process'} (pid {pid})"
        record, plugins = handle.record, self._plugins
        if record.generation != self._generation:  # of its other plugins nothing is known
            plugins = sorted({listener.plugin for listener in handle.generation.listeners})
        return f"worker {record.slot} (pid {pid}, plugins: {listed(plugins)})"

    def _tell(self, owner: str, ended: Sequence[str], left: Sequence[str]) -> None:
        if ended:
            self._telemetry.emit(FORKS_ENDED, owner=owner, processes=_some(ended))
        if left:
            self._telemetry.emit(PROGRAMS_FOUND, owner=owner, processes=_some(left))


def _some(names: Sequence[str]) -> str:
    """List processes, the first of many, for the log."""
    more = len(names) - _MAX_LISTED
    return listed([*names[:_MAX_LISTED], *([f"{more} more"] if more > 0 else [])])


def _living(pids: Iterable[int]) -> Iterable[tuple[int, str, Kin]]:
    """Yield each process that is not ending, with the name of its command and what it is."""
    for pid in pids:
        name, kin = processes.command_name(pid), lineage.kin(pid)
        if name is not None and kin is not Kin.GONE:
            yield pid, name, kin


def _kill(pid: int) -> bool:
    """Send SIGKILL; False if that is not allowed, or the process is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        return False
    return True

"""Tells the service manager how the host is: sd_notify(3), and the watchdog of systemd.service(5).

It hears the events of the supervisor. What the service manager waits for (that the host is ready,
reloads, stops, and what it is to keep) is sent in order, and again until it is taken. How the host
is in words is sent when that has changed, at most once a second.
"""

from __future__ import annotations

import errno
import math
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from host.net.listeners import ListeningSocket
from host.net.socket_store import addition, changes, inode, removal
from host.runtime.loop import TimerHandle
from host.runtime.notifications import MOST_CHARACTERS, Notifier
from host.supervisor.reload import handover
from host.supervisor.status import HostState, ready_workers
from host.supervisor.workers.states import WorkerState
from host.telemetry import events
from host.telemetry.emitter import Record, Telemetry
from host.text import counted, printable, reason

RETRY_SECONDS = 0.1
STATUS_SECONDS = 1.0
LEAST_WATCHDOG_SECONDS = 10.0
"""An exec with many plugins takes seconds, in which the supervisor is silent."""
_MARGIN_SECONDS = 5.0
"""How much longer than its deadline a stop may take: workers print their stacks before they end."""
_FULL = {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM}
_CHANGES = (
    events.GENERATION_STARTING,
    events.WORKER_READY,
    events.WORKER_DIED,
    events.WORKER_EXITED,
    events.WORKER_KILLED,
    events.WORKER_HUNG,
    events.WORKERS_SCALED,
    events.FORK_FAILED,
)
"""After these the words may be others."""


class _Message(NamedTuple):
    """A message that must arrive, perhaps with a socket."""

    text: str
    sock: socket.socket | None = None


class ServiceManager:
    """The service manager, as the supervisor sees it. Without one nothing happens.

    Args:
        notifier: sends the messages; None if there is no service manager. `leave` closes it.
        state: what there is to tell.
        before: what the supervisor before an exec has handed over; None if there was none.
        stored: the inode of each socket that it keeps already, by its name there.
    """

    def __init__(
        self,
        notifier: Notifier | None,
        telemetry: Telemetry,
        state: HostState,
        before: handover.Service | None,
        stored: Mapping[str, int],
    ) -> None:
        self._notifier, self._telemetry, self._state = notifier, telemetry, state
        self._after_exec = before is not None
        self._stored = dict(before.stored if before else stored)
        self._unsent = deque(_Message(text) for text in (before.unsent if before else ()))
        self._retry: TimerHandle | None = None
        self._look: TimerHandle | None = None
        self._detail, self._told, self._told_at = "", "", 0.0
        self._failed = False
        self._handlers: dict[str, Callable[[dict[str, Any]], object]] = {
            events.HOST_READY.name: lambda _: self._ready(),
            events.HOST_RELOADING.name: lambda _: self._reloading(),
            events.RELOAD_FAILED.name: self._reload_failed,
            events.GENERATION_FAILED.name: self._generation_failed,
            events.GENERATION_READY.name: lambda _: self._generation_ready(),
            events.NOT_LISTENING.name: lambda _: self._store(state.generations.current.sockets),
            events.HOST_STOPPING.name: lambda _: self._stopping(),
            events.HOST_STOPPING_NOW.name: lambda _: self._stopping(),
            events.WORKER_START_FAILED.name: self._start_failed,
            **{each.name: lambda _: self._changed() for each in _CHANGES},
        }

    def begin(self) -> None:
        """Begin to tell; the first sockets are stored, and all is well."""
        notifier = self._notifier
        if notifier is None:
            return
        self._telemetry.subscribe(self._hear)
        self._told_at = self._state.loop.now  # the first words can wait: much is about to change
        self._send_all()
        if self._after_exec:
            self._detail = f"generation {self._state.generations.current.number} is starting"
        else:
            self._store(self._state.generations.current.sockets)
            seconds = notifier.watchdog_seconds
            if seconds is not None and seconds < LEAST_WATCHDOG_SECONDS:
                least = LEAST_WATCHDOG_SECONDS
                self._telemetry.emit(events.WATCHDOG_SHORT, seconds=seconds, least=least)
        if notifier.watchdog_seconds is not None:
            self._feed(notifier.watchdog_seconds / 2)
        self._changed()

    def hand_over(self) -> handover.Service | None:
        """Say once more that all is well; return what the supervisor after an exec needs."""
        notifier = self._notifier
        if notifier is None:
            return None
        if notifier.watchdog_seconds is not None:
            self._say("WATCHDOG=1")
        unsent = [each.text for each in self._unsent if each.sock is None]
        waiting = {inode(each.sock) for each in self._unsent if each.sock is not None}
        return handover.Service(
            address=notifier.address,
            watchdog_seconds=notifier.watchdog_seconds,
            stored={name: number for name, number in self._stored.items() if number not in waiting},
            unsent=unsent,
        )

    def end(self) -> None:
        """Say what has gone wrong, if anything has, as far as it is taken at once."""
        if self._notifier is not None:
            self._send_all()
            if self._detail:
                self._tell_words()

    def leave(self) -> None:
        """Tell nothing any more, in a process that is not the supervisor, or at the end."""
        if self._notifier is not None:
            self._telemetry.unsubscribe(self._hear)
            self._notifier.close()
            self._notifier = None

    # What there is to tell

    def _hear(self, record: Record) -> None:
        handle = self._handlers.get(record.event.name)
        if handle is not None:
            handle(record.fields)

    def _ready(self, detail: str = "") -> None:
        """Say that the host serves: it has started, or a reload is over, however it went."""
        self._detail = detail
        self._say(f"READY=1\n{self._words()}")

    def _reloading(self) -> None:
        self._detail = "trying new settings"
        # In one message, and of the clock by which the service manager knows when it has asked.
        microseconds = time.monotonic_ns() // 1000
        self._say(f"RELOADING=1\nMONOTONIC_USEC={microseconds}\n{self._words()}")

    def _reload_failed(self, told: dict[str, Any]) -> None:
        first = told["details"].strip().partition("\n")[0]
        self._ready(": ".join(filter(None, [f"reload failed: {told['reason']}", first])))

    def _generation_failed(self, told: dict[str, Any]) -> None:
        self._ready(f"generation {told['generation']} cannot start: {told['reason']}")

    def _generation_ready(self) -> None:
        self._ready()
        self._store(self._state.generations.serving.sockets)

    def _start_failed(self, told: dict[str, Any]) -> None:
        if not self._state.pool.was_complete:
            self._detail = f"worker {told['slot']} failed to start: {told['cause']}"
        self._changed()

    def _stopping(self) -> None:
        """Say that the host stops, and how long that may take; it keeps nothing of ours then."""
        self._detail = ""
        state = self._state
        left = state.shutdown.deadline - state.loop.now
        seconds = _MARGIN_SECONDS + (left if 0.0 < left < math.inf else 0.0)
        extend = f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"
        self._say(f"STOPPING=1\n{extend}\n{self._words()}")
        self._store(())

    def _store(self, listeners: Iterable[ListeningSocket]) -> None:
        """Have the service manager keep these sockets and no others of the host's."""
        removed, added = changes(self._stored, listeners)
        for name in removed:
            del self._stored[name]
            self._say(removal(name))
        for name, listener in added.items():
            self._stored[name] = inode(listener.sock)
            self._say(addition(name), listener.sock)

    def _feed(self, seconds: float) -> None:
        """Keep the watchdog quiet as long as there is a worker that serves or may do so soon."""
        state, alive = self._state, (WorkerState.STARTING, WorkerState.READY)
        if state.shutdown.begun or any(each.record.state in alive for each in state.workers):
            self._say("WATCHDOG=1")
        state.loop.call_at(state.loop.now + seconds, lambda: self._feed(seconds))

    # How it is told

    def _say(self, text: str, sock: socket.socket | None = None) -> None:
        """Send what must arrive, after all that has not arrived yet."""
        message = _Message(text, sock)
        if text != "WATCHDOG=1" or message not in self._unsent:
            self._unsent.append(message)
        self._send_all()

    def _send_all(self) -> None:
        while self._unsent and self._notifier is not None:
            text, sock = self._unsent[0]
            if sock is None or sock.fileno() >= 0:
                error = self._send(text, sock)
                if error is not None and error.errno in _FULL:
                    self._retry_soon()
                    return
            self._unsent.popleft()

    def _retry_soon(self) -> None:
        if self._retry is None:
            loop = self._state.loop
            self._retry = loop.call_later(RETRY_SECONDS, self._on_retry)

    def _on_retry(self) -> None:
        self._retry = None
        self._send_all()

    def _send(self, text: str, sock: socket.socket | None = None) -> OSError | None:
        """Send; return why it was not sent, which is told the first time unless it is only full."""
        notifier = self._notifier
        assert notifier is not None
        try:
            notifier.send(text, None if sock is None else sock.fileno())
        except OSError as error:
            if error.errno not in _FULL and not self._failed:
                self._failed = True
                self._telemetry.emit(
                    events.MANAGER_NOT_TOLD, address=notifier.address, cause=reason(error)
                )
            return error
        if "STATUS=" in text:
            self._told, self._told_at = text.rpartition("STATUS=")[2], self._state.loop.now
        return None

    def _changed(self) -> None:
        """Tell in words how the host is, once what has changed is done, and not too often."""
        if self._look is None:
            loop = self._state.loop
            due = max(loop.now, self._told_at + STATUS_SECONDS)
            self._look = loop.call_at(due, self._on_look)

    def _on_look(self) -> None:
        self._look = None
        if not self._tell_words():
            self._told_at = self._state.loop.now  # dropped, and others are sent in a second
            self._changed()

    def _tell_words(self) -> bool:
        """Send how the host is, if that has changed; False if it was not taken."""
        words = self._words()
        if self._notifier is None or words == f"STATUS={self._told}":
            return True
        if self._unsent:
            return False
        error = self._send(words)
        return error is None or error.errno not in _FULL

    def _words(self) -> str:
        """Return the line that says how the host is."""
        state, detail = self._state, self._detail.partition("\n")[0]
        ready, wanted = ready_workers(state), counted(state.pool.workers, "worker")
        if state.shutdown.begun:
            words = f"stopping: {counted(len(list(state.workers)), 'worker')} left"
        elif not state.pool.was_complete and state.generations.coming is None:
            words = f"starting: {ready} of {wanted} ready"
        else:
            words = f"serving: {ready} of {wanted}, generation {state.generations.serving.number}"
        text = printable(f"STATUS={words}; {detail}" if detail else f"STATUS={words}")
        return text[:MOST_CHARACTERS]

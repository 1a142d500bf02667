"""The process that speaks to a broker for all workers: started, looked after, and ended."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from host.bus.remote_hub import RemoteHub
from host.bus.remote_state import RemoteLimits, Stage
from host.bus.supervisor_end import BusRouter
from host.ipc.assignment import BridgeAssignment
from host.ipc.host_counts import HostCounts
from host.runtime.loop import Loop
from host.runtime.processes import Exit
from host.settings import BusSettings, Lifecycle
from host.supervisor.helper import Helper, HelperProcess
from host.telemetry.emitter import Telemetry
from host.telemetry.events import (
    BUS_AWAY,
    BUS_CONNECTED,
    BUS_ENTRY_FOREIGN,
    BUS_ENTRY_USABLE,
    BUS_MISSED,
)

_FLUSH_SECONDS = 0.5
"""How long the process may take to read what it is told last."""


class Bridge:
    """Has one process speak to the broker, and tells how that goes.

    Args:
        loop: the supervisor's.
        telemetry: told of the connection.
        settings: where the broker is, and how long is waited for it.
        limits: when the process counts as hung, and how long it takes at most until there is
            another one.

    Attributes:
        router: carries frames between the workers and it.
    """

    def __init__(
        self, loop: Loop, telemetry: Telemetry, settings: BusSettings, limits: Lifecycle
    ) -> None:
        self._loop, self._telemetry = loop, telemetry
        self._settings, self._limits = settings, limits
        self._since, self._cause, self._address = loop.now, "the host has just started", ""
        self._is_connected, self._connections = False, 0
        self._hub: RemoteHub | None = None
        self._helper: HelperProcess | None = None
        self._can_start = False
        self._counts: HostCounts | None = None
        self._theirs: socket.socket | None = None
        self.router = BusRouter(loop, telemetry, self._make_hub)

    def prepare(
        self,
        parent: int,
        run: Callable[[BridgeAssignment], int] | None,
        counts: HostCounts,
        close: Callable[[], object],
        before: int | None,
    ) -> None:
        """Get ready to start the process.

        Args:
            parent: the supervisor's pid.
            run: what the process does; None if it cannot be had now.
            counts: where it writes that it is well.
            close: closes, in the process, what the supervisor alone uses.
            before: the process of the supervisor before an exec, if there was one.
        """

        def be_bridge(stop: int) -> int:
            assert run is not None
            assert self._theirs is not None
            beat = lambda: setattr(counts, "bridge_beat", time.monotonic())  # noqa: E731
            count = counts.count_lines_dropped_by_bridge
            return run(BridgeAssignment(parent, self._theirs, stop, beat, count))

        helper = Helper("bus.url", be_bridge, close, lambda: counts.bridge_beat, self._channel)
        self._helper = HelperProcess(helper, self._loop, self._telemetry, self._limits, before)
        self._counts = counts
        self._count()
        self._can_start = run is not None

    def start(self) -> None:
        """Start the process, if it can be had."""
        if self._helper is not None and self._can_start:
            self._helper.start()

    @property
    def pid(self) -> int | None:
        """The process; None if there is none at the moment."""
        return None if self._helper is None else self._helper.pid

    def state(self) -> dict[str, Any]:
        """Return how the connection is, for `status`."""
        assert self._hub is not None
        return {
            "broker": self._settings.url,
            "namespace": self._settings.namespace,
            "node": self._settings.node_name,
            "connected": self._is_connected,
            "cause": self._cause,
            "seconds": round(self._loop.now - self._since, 3),
            "connections": self._connections,
            "queued_bytes": self._hub.queued,
            "foreign_entries": self._hub.foreign_entries,
            "pid": self.pid,
        }

    def handle_exit(self, ended: Exit) -> bool:
        """Start another process if it is this one that has ended; False if it is another."""
        if self._helper is None or not self._helper.knows(ended.pid):
            return False
        if ended.pid == self._helper.pid:
            self.router.remove_bridge()
        return self._helper.handle_exit(ended)

    def knows(self, pid: int) -> bool:
        """Tell whether a child is such a process."""
        return self._helper is not None and self._helper.knows(pid)

    def check_health(self) -> None:
        """Show how the connection is, and kill the process if it hangs."""
        self._count()
        if self._helper is not None:
            self._helper.check_health()

    def end(self) -> None:
        """Tell the broker that this host ends, and wait until the process has ended."""
        if self._hub is not None and self._helper is not None:
            self._hub.end()
            self.router.flush_bridge(_FLUSH_SECONDS)
            self._helper.end()

    def close_in_child(self) -> None:
        """Close what is the supervisor's of it, in another child."""
        if self._helper is not None:
            self._helper.close_in_child()

    def _make_hub(self, send: Callable[[int, bytes], bool]) -> RemoteHub:
        settings = self._settings
        node = f"{settings.node_name}.{secrets.token_hex(3)}".encode()
        limits = RemoteLimits(settings.max_queued_bytes, settings.claim_timeout_seconds)
        self._hub = RemoteHub(send, node, self._loop, self._tell, limits, self._tell_entries)
        return self._hub

    @contextmanager
    def _channel(self) -> Iterator[None]:
        """Open the channel to a process that is forked meanwhile."""
        self.router.remove_bridge()
        mine, self._theirs = socket.socketpair()
        try:
            self.router.add_bridge(mine)
            yield
        finally:
            self._theirs.close()
            self._theirs = None

    def _tell(self, stage: Stage, cause: str) -> None:
        """Tell of a connection that begins or ends; one that never began is told of once."""
        if stage is Stage.JOINING:
            self._address = cause
        elif stage is Stage.READY:
            self._is_connected, self._since, self._cause = True, self._loop.now, ""
            self._connections += 1
            self._telemetry.emit(BUS_CONNECTED, broker=self._address)
            if cause:
                self._telemetry.emit(BUS_MISSED)
        elif stage is Stage.AWAY:
            if self._is_connected or cause != self._cause:
                self._telemetry.emit(BUS_AWAY, broker=self._settings.url, cause=cause)
            if self._is_connected:
                self._since = self._loop.now
            self._is_connected, self._cause = False, cause
        self._count()

    def _tell_entries(self, before: list[str], now: list[str]) -> None:
        """Tell of entries that are somebody else's, and of those that are not any more."""
        for key in now:
            if key not in before:
                self._telemetry.emit(BUS_ENTRY_FOREIGN, key=key)
        for key in before:
            if key not in now:
                self._telemetry.emit(BUS_ENTRY_USABLE, key=key)

    def _count(self) -> None:
        if self._counts is not None and self._hub is not None:
            self._counts.bus = self._is_connected, self._hub.queued

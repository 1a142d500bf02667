"""What the process does that speaks to a broker."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from host.bus.broker import BrokerSettings
from host.ipc.assignment import BridgeAssignment
from host.runtime import forks
from host.startup.broker import MODULE
from host.startup.given import Given
from host.startup.log import HostLog


def runs_bridge(
    broker: BrokerSettings | None, given: Given, host_log: HostLog
) -> Callable[[BridgeAssignment], int] | None:
    """Return what the process does that speaks to the broker; None if there is none."""
    if broker is None:
        return None
    run = importlib.import_module(MODULE).run
    log, capture = host_log.writer, host_log.capture

    def run_bridge(assignment: BridgeAssignment) -> int:
        capture.forget()
        given.close_kept()
        forks.close_in_plugin_fork(capture.end_in_fork)
        log.forget()
        try:
            return int(run(assignment, broker))
        finally:
            capture.end()
            log.close()

    return run_bridge

"""What the processes do that run beside the workers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TypeVar

from host.ipc.assignment import BridgeAssignment, OpsAssignment
from host.runtime import forks
from host.runtime.privileges import give_up_capabilities
from host.startup import broker, ops_token
from host.startup.given import Given
from host.startup.log import HostLog
from host.startup.prepare import Prepared

_Assignment = TypeVar("_Assignment", OpsAssignment, BridgeAssignment)


def runs_ops(
    prepared: Prepared, given: Given, host_log: HostLog
) -> Callable[[OpsAssignment], int] | None:
    """Return what the process does that shows how the host is; None if there is to be none."""
    settings, token = prepared.settings, prepared.ops_token
    if token is None:
        return None
    run, secret = importlib.import_module(ops_token.MODULE).run, token.get_secret_value()
    telemetry, reopen = host_log.telemetry, host_log.writer.reopen
    return _beside_workers(
        lambda assignment: int(run(assignment, settings, secret, telemetry, reopen)),
        prepared,
        given,
        host_log,
    )


def runs_bridge(
    prepared: Prepared, given: Given, host_log: HostLog
) -> Callable[[BridgeAssignment], int] | None:
    """Return what the process does that speaks to a broker; None if there is to be none."""
    settings = prepared.broker
    if settings is None:
        return None
    run = importlib.import_module(broker.MODULE).run
    telemetry = host_log.telemetry
    return _beside_workers(
        lambda assignment: int(run(assignment, settings, telemetry)), prepared, given, host_log
    )


def _beside_workers(
    run: Callable[[_Assignment], int], prepared: Prepared, given: Given, host_log: HostLog
) -> Callable[[_Assignment], int]:
    """Return the same for a process of its own: what is not for that is given up there."""
    log, capture = host_log.writer, host_log.capture

    def run_there(assignment: _Assignment) -> int:
        if prepared.settings.process.keep:
            give_up_capabilities()
        capture.forget()
        given.close_kept()
        forks.close_in_plugin_fork(capture.end_in_fork)
        log.forget()
        log.count_dropped(assignment.count_lines_dropped)
        try:
            return run(assignment)
        finally:
            capture.end()
            log.close()

    return run_there

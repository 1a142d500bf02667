"""Tells of a start: what begins, and what is open now."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence

from host.net.activation import PassedSockets
from host.net.listeners import ListeningSocket
from host.settings import ignored_variables
from host.startup.given import Given
from host.startup.limits import RESERVED_DESCRIPTORS, pool_descriptors
from host.startup.prepare import Prepared, count_sockets
from host.startup.privileged import Opened
from host.supervisor.reload.handover import Handover
from host.telemetry.emitter import Telemetry
from host.telemetry.events import (
    DESCRIPTORS_CAPPED,
    HOST_STARTING,
    LISTENING,
    OPS_LISTENING,
    SOCKET_FILE_LOST,
    SOCKET_UNUSED,
    VARIABLES_IGNORED,
)


def tell_start(prepared: Prepared, telemetry: Telemetry, version: str) -> None:
    """Tell that a host starts, and what it cannot have of what was asked for."""
    settings, limit = prepared.settings, prepared.limit
    telemetry.emit(
        HOST_STARTING,
        name=settings.name,
        version=version,
        pid=os.getpid(),
        workers=settings.workers,
    )
    if names := ignored_variables():
        telemetry.emit(VARIABLES_IGNORED, names=", ".join(names))
    if limit < settings.limits.max_connections_per_worker:
        others = count_sockets(prepared.served) + pool_descriptors(settings.pools)
        allowed = limit + RESERVED_DESCRIPTORS + others
        telemetry.emit(DESCRIPTORS_CAPPED, allowed=allowed, connections=limit)


def tell_opened(
    opened: Opened,
    given: Given,
    inherited: Sequence[socket.socket],
    failed: str,
    telemetry: Telemetry,
) -> None:
    """Tell what is open now, as far as it is new.

    Args:
        opened: what is open.
        given: what this process was given.
        inherited: the sockets of the supervisor before.
        failed: why this is not what settings ask for, or "".
        telemetry: is told.
    """
    _tell_listeners(opened.listeners, given.handed, inherited, telemetry)
    _tell_ops(opened.ops, given.handed, telemetry)
    if not failed:
        _tell_unused(given.passed, opened.listeners, telemetry)


def _tell_listeners(
    sockets: Iterable[ListeningSocket],
    handed: Handover | None,
    inherited: Sequence[socket.socket],
    telemetry: Telemetry,
) -> None:
    """Tell what is listened on, as far as it is new, and which socket files are lost."""
    known = handed.served if handed else frozenset()
    serving = {inherited[number] for number in handed.serving.sockets} if handed else set()
    for listener in sockets:
        view = listener.view
        if (view.address, view.plugin) not in known or listener.sock not in serving:
            telemetry.emit(LISTENING, address=view.address, plugin=view.plugin)
        if listener.trouble:
            telemetry.emit(SOCKET_FILE_LOST, address=view.address, cause=listener.trouble)


def _tell_ops(
    sockets: Iterable[ListeningSocket], handed: Handover | None, telemetry: Telemetry
) -> None:
    """Tell where it is shown how the host is, as far as that is new."""
    before = handed.ops[: handed.ops_before] if handed else ()
    known = {each.address for each in before}
    for address in (each.view.address for each in sockets):
        if address not in known:
            telemetry.emit(OPS_LISTENING, address=address)


def _tell_unused(
    passed: PassedSockets, sockets: Iterable[ListeningSocket], telemetry: Telemetry
) -> None:
    """Tell which sockets of a service manager nobody listens on."""
    for name, address in passed.unused(listener.sock for listener in sockets):
        telemetry.emit(SOCKET_UNUSED, name=name, address=address)

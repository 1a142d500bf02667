"""Access lines of requests, for protocols in which a connection has several."""

from __future__ import annotations

from host.interfaces import Connection
from host.telemetry.emitter import Telemetry
from host.telemetry.events import REQUEST_ANSWERED
from host.telemetry.tracing import trace_fields


class RequestLog:
    """Tells of requests; implements `host.RequestLog`.

    Args:
        telemetry: where it tells of them.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def __call__(
        self,
        connection: Connection,
        *,
        peer: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        bytes_out: int,
    ) -> None:
        """Tell of one request that was answered."""
        self._telemetry.emit(
            REQUEST_ANSWERED,
            connection=connection.id,
            peer=peer,
            listener=connection.listener.address,
            slot=connection.worker.slot,
            method=method,
            path=path,
            status=status,
            seconds=seconds,
            bytes_out=bytes_out,
            **trace_fields(connection),
        )

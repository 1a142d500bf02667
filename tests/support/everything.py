"""A protocol that notes every hook it hears in its worker."""

from __future__ import annotations

from host import CloseReason, Connection, hookimpl


class Everything:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def on_host_start(self) -> None:
        self.heard.append("on_host_start")

    @hookimpl
    def on_worker_start(self) -> None:
        self.heard.append("on_worker_start")

    @hookimpl
    def on_accept(self) -> None:
        self.heard.append("on_accept")

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.read()
        self.heard.append("on_readable")

    @hookimpl
    def on_drain(self) -> None:
        self.heard.append("on_drain")

    @hookimpl
    def on_close(self, reason: CloseReason) -> None:
        self.heard.append(f"on_close: {reason.value}")

    @hookimpl
    def on_worker_stop(self) -> None:
        self.heard.append("on_worker_stop")

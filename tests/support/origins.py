"""A protocol that greets each client with its peer and what its proxy has said, and then echoes."""

from __future__ import annotations

from host import Connection, hookimpl


class Origins:
    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        proxy = connection.origin.proxy
        said = "alone"
        if proxy is not None:
            said = f"v{proxy.version} {proxy.source} {proxy.unique_id!r}"
            if proxy.tls is not None:
                said += f" {proxy.tls}"
        connection.write(f"{connection.peer} {said}\n".encode())

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.write(connection.read())

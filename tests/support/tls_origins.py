"""A protocol that greets each client with what is known of its TLS session, and then echoes."""

from __future__ import annotations

from host import Connection, hookimpl


class TlsOrigins:
    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        tls, proxy = connection.origin.tls, connection.origin.proxy
        said = "none"
        if tls is not None:
            shown = len(tls.peer_certificate or b"")
            said = f"{tls.version} {tls.alpn} {tls.server_name} {tls.resumed} {shown}"
        via = "" if proxy is None else f" via {proxy.peer}"
        connection.write(f"{said}{via} from {connection.peer}\n".encode())

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.write(connection.read())

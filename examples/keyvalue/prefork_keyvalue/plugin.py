"""The plugin: a protocol of its own, memcached's, on the host's connections."""

from __future__ import annotations

from collections.abc import Iterator

from host import CloseReason, Connection, Host, Worker, hookimpl
from prefork_keyvalue.commands import Commands
from prefork_keyvalue.counts import Counts
from prefork_keyvalue.options import Options
from prefork_keyvalue.replies import TOO_LONG
from prefork_keyvalue.requests import Requests, TooLongError

REQUESTS_A_TURN = 20
"""How many requests of a client are answered before others have their turn: memcached's -R."""

_SHOWN_SECONDS = 1.0


class Client:
    """What is kept of a connection.

    Args:
        max_line_bytes: the longest line.

    Attributes:
        requests: what it has sent.
        pieces: what is left of a reply that comes in pieces; None: there is none.
        ending: whether the connection is closed as soon as all requests are answered.
    """

    __slots__ = ("ending", "pieces", "requests")

    def __init__(self, max_line_bytes: int) -> None:
        self.requests = Requests(max_line_bytes)
        self.pieces: Iterator[bytes] | None = None
        self.ending = False

    def next_piece(self) -> bytes:
        """Return the next piece of the reply that comes in pieces, and forget it after the last."""
        assert self.pieces is not None
        piece = next(self.pieces, None)
        if piece is None:
            self.pieces = None
        return piece or b""


class KeyValue:
    """A key-value store for memcached clients."""

    def __init__(self, options: Options) -> None:
        self._options, self._counts = options, Counts()
        self._commands = Commands(options, self._counts)

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Refuse to start with several workers; declare what is shown."""
        metrics = host.metrics
        self._is_shown = metrics.is_shown
        self._items = metrics.gauge("items", "Items that are stored.")
        self._bytes = metrics.gauge("stored_bytes", "Memory that items take.")
        if host.workers > 1:
            raise RuntimeError(
                f"keyvalue runs in one worker, and {host.workers} are configured: each would have "
                "a store of its own, and clients would miss what others have stored. "
                "Start the host with --workers 1"
            )

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Show now and then how much is stored."""
        if self._is_shown:
            worker.call_every(_SHOWN_SECONDS, self._show)

    def _show(self) -> None:
        items, used = self._commands.stats.stored()
        self._items.set(items)
        self._bytes.set(used)

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Begin with a command line."""
        connection.data = Client(self._options.max_line_bytes)
        self._counts.total_connections += 1
        self._commands.stats.connections += 1

    @hookimpl
    def on_close(self, connection: Connection, reason: CloseReason) -> None:
        """Count one connection less."""
        self._commands.stats.connections -= 1

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Answer what has arrived."""
        connection.data.requests.feed(connection.read())
        self._answer(connection)

    @hookimpl
    def on_drain(self, connection: Connection) -> None:
        """Close as soon as every request that has come whole is answered."""
        connection.data.ending = True
        self.on_readable(connection)

    def _answer(self, connection: Connection) -> None:
        """Answer what has come, and hang up after a line that is too long for any command."""
        try:
            self._answer_some(connection, connection.data)
        except TooLongError as error:
            if error.is_get:
                connection.write(TOO_LONG)
            connection.close()

    def _answer_some(self, connection: Connection, client: Client) -> None:
        """Answer what has come, until there is no more or others are to have their turn.

        A client that does not take its replies is held back, too.
        """
        requests, answer = client.requests, self._commands.answer
        for _ in range(REQUESTS_A_TURN):
            if client.pieces is None:
                line = requests.next_line()
                if line is None:
                    if client.ending:
                        connection.close()
                    return
                reply = answer(line, requests)
                if reply is None:
                    connection.close()
                    return
                if type(reply) is not bytes:
                    client.pieces = reply
                    continue
            else:
                reply = client.next_piece()
            if reply:
                connection.write(reply)
                if connection.congested:
                    connection.call_when_writable(self._answer)
                    return
        self._counts.conn_yields += 1
        connection.call_next_turn(self._answer)

"""The commands on the server: INFO, CONFIG and COMMAND."""

from __future__ import annotations

import time

from host import Worker
from prefork_resp.patterns import compile_pattern
from prefork_resp.replies import array, bulk, integer, mapping, text
from prefork_resp.session import ANY_NUMBER, Command, Session, Table, Words
from prefork_resp.store import Store
from prefork_resp.subcommands import Subcommands

_LIKE_VERSION = b"7.0.0"
"""The version of Redis whose replies these are, since clients look at it."""


class Server:
    """The commands.

    Args:
        version: the version of this server, in digits and dots.
        store: what the memory is told of.
        max_bytes: how much memory it may have.
    """

    def __init__(self, version: bytes, store: Store, max_bytes: int) -> None:
        self._version, self._store, self._max_bytes = version, store, max_bytes
        self._started = time.monotonic()
        self._worker: Worker
        self._all: Table = {}

    def start(self, worker: Worker) -> None:
        """Begin to serve in a worker."""
        self._worker = worker

    def describe(self, table: Table) -> None:
        """Tell clients of these commands."""
        self._all = table

    def table(self) -> Table:
        """Return the commands by their names."""
        command = {
            b"COUNT": Command(2, 2, lambda *_: integer(len(self._all))),
            b"DOCS": Command(2, ANY_NUMBER, lambda session, _: mapping({}, session.version)),
        }
        config = {b"GET": Command(3, ANY_NUMBER, self._config_get)}
        return {
            b"INFO": Command(1, ANY_NUMBER, self._info),
            b"CONFIG": Command(2, ANY_NUMBER, Subcommands(config)),
            b"COMMAND": Command(1, ANY_NUMBER, Subcommands(command, alone=self._describe)),
        }

    def _info(self, session: Session, words: Words) -> bytes:
        asked = {word.lower() for word in words[1:]} or {b"all"}
        has_all = asked & {b"all", b"default", b"everything"}
        parts = []
        for name, rows in self._sections().items():
            if has_all or name.lower() in asked:
                lines = [b"# " + name, *(b"%b:%b" % row for row in rows.items()), b""]
                parts.append(b"\r\n".join(lines))
        return text(b"\r\n".join(parts), session.version)

    def _sections(self) -> dict[bytes, dict[bytes, bytes]]:
        worker, store = self._worker, self._store
        keys = (len(store), len(store.expires))
        return {
            b"Server": {
                b"redis_version": _LIKE_VERSION,
                b"redis_mode": b"standalone",
                b"server_name": b"prefork-resp",
                b"prefork_resp_version": self._version,
                b"process_id": b"%d" % worker.pid,
                b"uptime_in_seconds": b"%d" % (time.monotonic() - self._started),
            },
            b"Clients": {b"connected_clients": b"%d" % sum(1 for _ in worker.connections)},
            b"Memory": {
                b"used_memory": b"%d" % store.used,
                b"maxmemory": b"%d" % self._max_bytes,
                b"maxmemory_policy": b"noeviction",
            },
            b"Keyspace": {b"db0": b"keys=%d,expires=%d,avg_ttl=0" % keys} if keys[0] else {},
        }

    def _config_get(self, session: Session, words: Words) -> bytes:
        """Tell the settings that clients ask for, redis-benchmark among them."""
        rows = {
            b"appendonly": b"no",
            b"databases": b"1",
            b"maxmemory": b"%d" % self._max_bytes,
            b"maxmemory-policy": b"noeviction",
            b"save": b"",
        }
        patterns = [compile_pattern(word.lower()) for word in words[2:]]
        found = {
            name: bulk(value)
            for name, value in rows.items()
            if any(pattern.fullmatch(name) for pattern in patterns)
        }
        return mapping(found, session.version)

    def _describe(self, _session: Session, _words: Words) -> bytes:
        """Describe all commands: name, number of words, flags, and where the keys are."""
        return array([_row(name, command) for name, command in self._all.items()])


def _row(name: bytes, command: Command) -> bytes:
    """Describe a command: what Redis tells of flags, categories and the like is left empty."""
    arity = command.fewest if command.fewest == command.most else -command.fewest
    first, last, step = (1, command.keys, 1) if command.keys else (0, 0, 0)
    numbers = map(integer, (first, last, step))
    flags = specifications = array([])
    return array([bulk(name.lower()), integer(arity), flags, *numbers, *4 * [specifications]])

"""A real redis-server: started, stopped, killed, held up, and started again."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from host.testing.machine import Stopwatch, patience

_START_SECONDS = 20.0


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class RedisServer:
    """A server on a port of the loopback interface and on a Unix socket. It ends with this process.

    Args:
        folder: where its socket and its data are.
        settings: more of its command line, such as `--appendonly yes`.
        password: of the default user; "" for none.
        enter: what runs a command in the network namespace where it is to be; empty for this one.

    Attributes:
        port: its port; the same over a restart.
        path: its socket.
        said: what it has said until it was ready.
    """

    def __init__(
        self, folder: Path, *settings: str, password: str = "", enter: Sequence[str] = ()
    ) -> None:
        self.folder, self.path, self._enter = folder, folder / "redis.sock", enter
        self._settings, self._password = list(settings), password
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.said = free_port(), b""
        try:
            self.start()
        except AssertionError as error:
            if "Address already in use" not in str(error):
                raise
            self.port = free_port()  # somebody else has taken the first one meanwhile
            self.start()

    def settings(self, *settings: str) -> None:
        """Have others on its command line from the next start on."""
        self._settings = list(settings)

    @property
    def url(self) -> str:
        """Its URL for `bus.url`."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, with the data that it has written; return when it serves."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.path)]
        words += ["--dir", str(self.folder), "--save", "", "--daemonize", "no", "--logfile", ""]
        if self._password:
            words += ["--requirepass", self._password]
        command = ["setpriv", "--pdeathsig", "KILL", *self._enter, "redis-server"]
        command += [*words, *self._settings]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        """Read what it says: some 1 KB until it is ready, and little afterwards."""
        assert self._process is not None
        assert self._process.stdout is not None
        stdout, watch, self.said = self._process.stdout.fileno(), Stopwatch(), b""
        while b"Ready to accept connections" not in self.said:
            readable, _, _ = select.select([stdout], [], [], watch.left(_START_SECONDS))
            data = os.read(stdout, 65_536) if readable else b""
            if not data:
                self.close()
                raise AssertionError(f"redis-server does not start:\n{self.said.decode()}")
            self.said += data

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it with a signal, and wait until it has."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        self._process.wait(patience(_START_SECONDS))
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def stop(self) -> None:
        """Stop it as a service manager does."""
        self.end(signal.SIGTERM)

    def restart(self, *, empty: bool) -> None:
        """Kill it and start it again, with the data that it has written or without any."""
        self.end()
        if empty:
            self.forget()
        self.start()

    def forget(self) -> None:
        """Delete what it has written."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if not path.is_dir():
                path.unlink()

    def pause(self) -> None:
        """Have it do nothing, with all its connections open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have it do nothing meanwhile."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def ask(self, *command: str | bytes | int) -> Any:
        """Return the reply to a command."""
        wait = patience(_START_SECONDS)
        client = redis.Redis(
            unix_socket_path=str(self.path), password=self._password or None, socket_timeout=wait
        )
        try:
            return client.execute_command(*command)
        finally:
            client.close()

    def clients(self) -> list[dict[str, str]]:
        """Return what CLIENT LIST says of all others than who asks."""
        return [each for each in self.ask("CLIENT LIST") if "client" not in each["cmd"]]

    def cut(self) -> int:
        """End all connections but the one that asks for it; return how many there were."""
        return int(self.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")) + int(
            self.ask("CLIENT", "KILL", "TYPE", "pubsub")
        )

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self.resume()
        self.end()
        self.path.unlink(missing_ok=True)

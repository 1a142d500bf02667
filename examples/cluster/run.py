"""Hosts with the chat, and the Redis that connects them: `python run.py`, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from queue import SimpleQueue

SETTINGS = Path(__file__).with_name("chat.toml")
REDIS = "redis"


class Cluster:
    """Runs processes, and shows what they say, each line with the name of who says it."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._said: SimpleQueue[tuple[str, str]] = SimpleQueue()

    @property
    def names(self) -> set[str]:
        """Those that run."""
        return set(self._processes)

    def start(self, name: str, *command: str) -> None:
        """Start a process, which Ctrl-C does not reach: `stop` ends them in their order."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._processes[name] = process
        print(f"{name} | process {process.pid}", flush=True)
        threading.Thread(target=self._read, args=(name, process), daemon=True).start()

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._said.put((name, line.rstrip()))
        self._said.put((name, ""))

    def show(self) -> str:
        """Show the next line, or that a process has ended; return the line, "" for an end."""
        name, line = self._said.get()
        if not line and name in self._processes:
            code = self._processes.pop(name).wait()
            how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
            print(f"{name} | has ended: {how}", flush=True)
        elif line:
            print(f"{name} | {line}", flush=True)
        return line

    def stop(self, names: set[str]) -> None:
        """Stop some of them, and show what they say until they have ended."""
        for name in names & self.names:
            self._processes[name].terminate()
        while names & self.names:
            self.show()

    def kill(self) -> None:
        """Kill those that are left."""
        for process in self._processes.values():
            process.kill()
            process.wait()


def run(cluster: Cluster, folder: str, hosts: int, port: int) -> int:
    """Run everything until Ctrl-C, or until Redis or all hosts have ended; return the exit code."""
    path = f"{folder}/redis.sock"
    cluster.start(
        REDIS,
        *("redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder),
        *("--loglevel", "notice", "--logfile", ""),
    )
    while "ready to accept connections" not in cluster.show() and REDIS in cluster.names:
        pass
    if REDIS not in cluster.names:
        return 1
    for number in range(1, hosts + 1):
        address = f"tcp://127.0.0.1:{port + number - 1 if port else 0}"
        cluster.start(
            f"host{number}",
            *(sys.executable, "-m", "host", "--config", str(SETTINGS), "--listen", address),
            *("--name", f"cluster-{number}", "--set", f"bus.node=host{number}"),
            *("--set", f"bus.url=unix://{path}"),
        )
    while REDIS in cluster.names and len(cluster.names) > 1:
        cluster.show()
    print("the broker has ended" if REDIS not in cluster.names else "no host is left", flush=True)
    return 1


def main() -> int:
    """Run the cluster that the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=2, help="how many hosts there are")
    parser.add_argument(
        "--port", type=int, default=7001, help="that of the first host; 0: the system chooses"
    )
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell has jobs in the background ignore one
        signal.signal(number, signal.default_int_handler)
    cluster = Cluster()
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        try:
            code = run(cluster, folder, given.hosts, given.port)
        except FileNotFoundError:
            print("redis-server is not installed: apt install redis-server", file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            code = 0
        try:
            cluster.stop(cluster.names - {REDIS})
            cluster.stop({REDIS})
        finally:
            cluster.kill()
    return code


if __name__ == "__main__":
    sys.exit(main())

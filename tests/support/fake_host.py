"""A host that is none: it gives the answers to commands that it is told."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

from host.control.server import ControlServer, Reply
from host.runtime.loop import Loop
from host.telemetry.emitter import Telemetry
from host.testing.machine import patience

_DEADLINE_SECONDS = 10.0
_NUMBERS = itertools.count()
EVIL = "\x1b[31m[bold]evil\r\n\u202e"
"""A text that acts on a terminal."""
SPELLED = r"\x1b[31m[bold]evil\x0d\x0a\u202e"
"""How it is shown."""


def worker(slot: int, **more: Any) -> dict[str, Any]:
    """Return what `status` tells of a worker.

    Args:
        slot: its slot.
        more: what differs from a worker that serves.
    """
    return {
        "slot": slot,
        "pid": 4_000_000 + slot,
        "generation": 1,
        "state": "serving",
        "active": 12_345,
        "accepted": 10_000_000,
        "outstanding": 3,
        "suspended": False,
        "held": False,
        "age_seconds": 200.0,
        "turn_seconds": 0.0123,
        "memory_bytes": 31 * 1_048_576,
        "cpu_seconds": 50.0,
        "reads": 4_000_000,
        "plugins": [],
    } | more


LISTENER: dict[str, Any] = {
    "index": 0,
    "address": "tcp://127.0.0.1:7000",
    "plugin": "echo",
    "configured": "tcp://127.0.0.1:7000",
    "source": "opened",
    "file": None,
    "waiting": 0,
    "accepted": 20_000_000,
    "spurious": 5,
    "refused": 0,
}


STATUS: dict[str, Any] = {
    "name": "fake",
    "version": "0.1.0",
    "pid": 81,
    "generation": 1,
    "uptime_seconds": 90_000.0,
    "cpu_seconds": 900.0,
    "state": "serving",
    "ready": True,
    "workers_wanted": 2,
    "schedulers": ["least_connections", "round_robin"],
    "workers": [worker(0), worker(1)],
    "listeners": [LISTENER],
    "last_reload": None,
    "hangs": [],
    "restarts": 0,
}


READY: dict[str, Any] = {"generation": 1, "outcome": "ready", "reason": "", "seconds_ago": 5.0}


TROUBLED = STATUS | {
    "state": "reloading",
    "ready": False,
    "workers": [
        worker(0, held=True, suspended=True),
        worker(1, suspended=True, memory_bytes=None),
        worker(2, state="draining", held=True),
        worker(2, generation=2),
        worker(
            3,
            state="starting",
            plugins=[
                {
                    "plugin": EVIL,
                    "state": "open",
                    "failures": 10,
                    "hook": "on_accept",
                    "seconds_left": 12.3,
                }
            ],
        ),
    ],
    "listeners": [LISTENER | {"waiting": None, "plugin": EVIL, "file": "gone"}],
    "last_reload": READY | {"outcome": "failed", "reason": f"{EVIL}, line 1\nline 2"},
    "hangs": [
        {
            "slot": 1,
            "pid": 77,
            "place": f"in hook on_readable of plugin {EVIL}",
            "seconds_ago": 61.0,
            "stacks": [f"File {EVIL}"],
        }
    ],
    "restarts": 7,
    "plugins": [
        {
            "plugin": "watcher",
            "state": "half-open",
            "failures": 3,
            "hook": "on_child_exit",
            "seconds_left": 0.0,
        }
    ],
}


class Drop:
    """An answer that is none: the connection breaks, as when a host re-executes itself."""


def new_name() -> str:
    """Return a name that no other host has."""
    return f"test-{os.getpid()}-{next(_NUMBERS)}"


class FakeHost:
    """Serves the control socket in a thread, from the beginning until it is closed.

    Args:
        answers: for each command its result, or an exception, or None for no answer, or a list of
            these: each answers one request, and the last all that come after it.

    Attributes:
        name: its name.
        asked: the commands that it was given, with their arguments.
    """

    def __init__(self, **answers: Any) -> None:
        self.name = new_name()
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self._answers = answers
        self._loop, self._telemetry = Loop(), Telemetry()
        self._server = self._serve(ControlServer.bind(self.name))
        self._thread = threading.Thread(target=self._loop.run)
        self._thread.start()

    def _serve(self, sock: socket.socket) -> ControlServer:
        return ControlServer(self._loop, self._telemetry, sock, self._handle)

    def _handle(self, command: str, args: dict[str, Any], reply: Reply) -> None:
        self.asked.append((command, args))
        answer = self._answers[command]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer is Drop:
            inherited = socket.socket(fileno=os.dup(self._server.fileno()))
            self._loop.remove(self._server.fileno())
            self._server.close()
            self._server = self._serve(inherited)
        elif isinstance(answer, Exception):
            raise answer
        elif answer is not None:
            reply.result(answer)

    def close(self) -> None:
        """End the thread, then close the socket and the loop."""
        self._loop.call_from_thread(self._loop.stop)
        self._thread.join(patience(_DEADLINE_SECONDS))
        assert not self._thread.is_alive()
        self._server.close()
        self._loop.close()

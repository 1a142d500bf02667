"""A protocol that implements every hook and misbehaves once, in the hook and way it is told.

Options name a file. As long as it is there, it says `HOOK HOW`; the first process that is called in
that hook renames it to `….taken`, with its process id in it, and misbehaves as `HOW` says. Until
then and afterwards it serves like `whoami`.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from host import hookimpl, hookspecs

SLEEP_SECONDS = 30.0
LEAKED = 50
MEMORY_BYTES = 256 << 20
START_TLS = b"STARTTLS"
"""A line after whose answer TLS begins."""
_kept: list[object] = []


class Options(BaseModel):
    cell: Path


def _raise() -> None:
    raise RuntimeError("misbehaving")


def _loop() -> None:
    while True:
        pass


def _interrupt() -> None:
    raise KeyboardInterrupt


def _fork_return() -> None:
    os.fork()


def _fork_exit() -> None:
    if os.fork() == 0:
        os._exit(0)


def _steal_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, lambda *_: None)


def _ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _leak() -> None:
    _kept.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(LEAKED))


def _allocate() -> None:
    """Take what the limit allows, which is set first, and then ask for more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    taken = []
    while True:
        taken.append(bytearray(16 << 20))


WAYS: dict[str, Callable[[], object]] = {
    "raise": _raise,
    "loop": _loop,
    "sleep": lambda: time.sleep(SLEEP_SECONDS),
    "os_exit": lambda: os._exit(3),
    "sys_exit": lambda: sys.exit(3),
    "interrupt": _interrupt,
    "nonsense": object,
    "fork_return": _fork_return,
    "fork_exit": _fork_exit,
    "steal_signals": _steal_signals,
    "ignore_sigterm": _ignore_sigterm,
    "close_foreign": lambda: os.closerange(3, 256),
    "leak": _leak,
    "allocate": _allocate,
    "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "segv_in_c": lambda: ctypes.string_at(0),
    "abort": lambda: ctypes.CDLL(None).abort(),
}
HOOKS: dict[str, tuple[str, ...]] = {
    name: value.__code__.co_varnames[: value.__code__.co_argcount]
    for name, value in vars(hookspecs).items()
    if hasattr(value, f"{hookspecs.NAMESPACE}_spec")
}
"""Every hook of the host and its arguments."""


class Misbehaving:
    def __init__(self, options: Options) -> None:
        self._cell = options.cell

    def _called(self, hook: str, arguments: tuple[Any, ...]) -> object:
        if hook == "on_readable":
            self._serve(*arguments)
        if not (how := self._taken(hook)):
            return None
        answer = WAYS[how]()
        return answer if how == "nonsense" else None

    def _taken(self, hook: str) -> str:
        """Return how to misbehave, if it is this hook and this process that shall."""
        with suppress(FileNotFoundError):
            wanted, how = self._cell.read_text().split()
            if wanted == hook:
                taken = self._cell.with_suffix(".taken")
                self._cell.rename(taken)
                taken.write_text(str(os.getpid()))
                return how
        return ""

    def _serve(self, connection: Any) -> None:
        *lines, rest = ((connection.data or b"") + connection.read()).split(b"\n")
        connection.data = rest
        worker = connection.worker
        for line in lines:
            active = len(list(worker.connections))
            connection.write(b"%d %d %d %s\n" % (worker.slot, worker.pid, active, line))
            if line == START_TLS:
                connection.start_tls("storm")


def _implementation(hook: str, arguments: tuple[str, ...]) -> Any:
    """Return a method that takes a hook's arguments by their names, as plugins must."""
    listed = ", ".join(arguments)
    passed = f"({listed}{',' if arguments else ''})"
    source = f"def {hook}(self{', ' * bool(arguments)}{listed}):\n"
    source += f"    return self._called({hook!r}, {passed})\n"
    made: dict[str, Any] = {}
    exec(compile(source, __file__, "exec"), made)
    return hookimpl(made[hook])


for _name, _arguments in HOOKS.items():
    setattr(Misbehaving, _name, _implementation(_name, _arguments))

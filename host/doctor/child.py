"""Runs an examination in a process of its own, and outlives whatever that does."""

from __future__ import annotations

import errno
import faulthandler
import itertools
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from host.doctor.rules import Finding
from host.runtime import forks, processes

_DONE = "done"
_MARGIN_SECONDS = 0.5
_CLOSED = 64
"""The exit code that says that a plugin has closed what findings are written to."""
_MOST_BYTES = 4096
"""What is kept of what a plugin prints."""


class Outcome(NamedTuple):
    """What an examination came to.

    Attributes:
        said: what it has said.
        end: what is wrong if its process has ended, or was ended, before it had said all.
        printed: the beginning of what was printed meanwhile.
        stack: the calls it was in when it took too long or crashed, as faulthandler writes them.
    """

    said: tuple[Finding | str, ...]
    end: Finding | None
    printed: str
    stack: str


class _Orders(NamedTuple):
    """What the process is to do, and where it is to say what it finds.

    Attributes:
        examination: yields findings, and notes.
        parent: the pid of the process that it works for.
        seconds: after which time it writes down its stack.
        said: takes a line of JSON for each thing that is found.
        stack: takes the stack.
        output: the descriptor that takes what is printed.
    """

    examination: Callable[[], Iterable[Finding | str]]
    parent: int
    seconds: float
    said: BinaryIO
    stack: BinaryIO
    output: int


def run(examination: Callable[[], Iterable[Finding | str]], seconds: float) -> Outcome:
    """Run an examination in a fork; nothing that it does changes this process.

    Processes that it leaves behind are killed.

    Args:
        examination: yields findings, and notes.
        seconds: how long it may take.
    """
    before = set(processes.children())
    reading, writing = os.pipe()
    with _memory() as said, _memory() as stack, open(reading, "rb") as out:
        orders = _Orders(examination, os.getpid(), seconds, said, stack, writing)
        try:
            pid = processes.fork(lambda: _child(orders))
        finally:
            os.close(writing)
        try:
            in_time, printed = _follow(pid, out, seconds + _MARGIN_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            _end_all(set(processes.children()) - before)
        found, calls = tuple(_read(said)), processes.end_of(stack.fileno())
    if found and found[-1] == _DONE:
        return Outcome(found[:-1], None, printed, calls)
    code = os.waitstatus_to_exitcode(status)
    ended = processes.Exit(pid, code if code >= 0 else None, -code if code < 0 else None)
    if code == _CLOSED:
        end = Finding("closes-descriptors", "it closes descriptors that are not its own")
    elif in_time:
        last = printed.strip().rpartition("\n")[2]
        end = Finding("import-ends", f"its process ended: {ended}" + (f"; {last}" if last else ""))
    else:
        end = Finding("import-hangs", f"it was not imported and constructed within {seconds:g} s")
    return Outcome(found, end, printed, calls)


def _read(said: BinaryIO) -> Iterator[Finding | str]:
    """Yield what the process has said; a plugin may have written there, too."""
    said.seek(0)
    for line in said.read().splitlines():
        with suppress(ValueError, TypeError):
            each = json.loads(line)
            yield Finding(*each) if isinstance(each, list) else str(each)


def _memory() -> BinaryIO:
    """Return a file in memory that processes may share; the caller closes it."""
    return open(os.memfd_create("doctor"), "r+b", buffering=0)


def _child(orders: _Orders) -> int:
    """Run an examination."""
    if not processes.die_with_parent(orders.parent):
        return 0
    os.setsid()
    processes.adopt_orphans()
    processes.offer_to_oom_killer()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (orders.output, 1), (orders.output, 2)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(orders.output)
    faulthandler.enable(orders.stack)
    faulthandler.dump_traceback_later(orders.seconds, file=orders.stack)
    try:
        for each in itertools.chain(orders.examination(), (_DONE,)):
            forks.exit_if_plugin_fork()
            orders.said.write(json.dumps(each).encode() + b"\n")
    except OSError as error:
        return _CLOSED if error.errno == errno.EBADF else 1
    finally:
        forks.exit_if_plugin_fork()
    return 0


def _follow(pid: int, out: BinaryIO, seconds: float) -> tuple[bool, str]:
    """Read what a process prints until it has ended; tell whether it has, and what it printed."""
    process = os.pidfd_open(pid)
    os.set_blocking(out.fileno(), False)
    printed, until = b"", time.monotonic() + seconds
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(out.fileno(), select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            ready = {descriptor for descriptor, _ in poll.poll(left * 1000)}
            if out.fileno() in ready:
                piece = os.read(out.fileno(), 65_536)
                printed = (printed + piece)[:_MOST_BYTES]
                if not piece:
                    poll.unregister(out.fileno())
            elif process in ready:
                return True, printed.decode("utf-8", "replace")
        return False, printed.decode("utf-8", "replace")
    finally:
        os.close(process)


def _end_all(pids: Iterable[int]) -> None:
    """Kill children that a plugin has left, and that were handed to this process."""
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

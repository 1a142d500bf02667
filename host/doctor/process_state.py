"""Compares a process before and after a plugin is loaded: what a fork would lose or share."""

from __future__ import annotations

import gc
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import FrameType
from typing import NamedTuple

from host.doctor.rules import Finding
from host.runtime import processes
from host.text import shorten

_SETTLE_SECONDS = 1.0
_UNIMPORTANT = ("/dev/null", "/dev/urandom", "/dev/random")
_THREAD_EVENTS = ("_thread.start_new_thread", "_thread.start_joinable_thread")
_PROCESS_EVENTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec")


class Trace(NamedTuple):
    """Something that the plugin has done.

    Attributes:
        kind: what it was: "open", "socket", "event loop", "thread" or "process".
        detail: the file, for "open".
        place: `file:line` of the plugin that brought it about.
    """

    kind: str
    detail: str
    place: str


class Traces:
    """Notes where a plugin opens and starts things, by audit events (PEP 578).

    There is no way to end that, so it is done in a process that ends.

    Args:
        homes: what the names of the plugin's own files begin with.
    """

    def __init__(self, homes: Iterable[str]) -> None:
        self._homes = tuple(homes)
        self._found: list[Trace] = []
        sys.addaudithook(self._note)

    def place(self, *kinds: str, detail: str | None = None) -> str | None:
        """Return where the plugin did something of these kinds last, or None."""
        for each in reversed(self._found):
            if each.kind in kinds and detail in (None, each.detail):
                return each.place
        return None

    def _note(self, event: str, args: tuple[object, ...]) -> None:
        kind = _kind(event)
        if not kind:
            return
        detail = str(args[0]) if kind == "open" else ""
        place, by_loop = self._look_up(sys._getframe(1))
        if place and kind == "socket" and by_loop:
            kind = "event loop"
        if place:
            self._found.append(Trace(kind, os.path.realpath(detail) if detail else "", place))

    def _look_up(self, frame: FrameType | None) -> tuple[str | None, bool]:
        """Return the innermost place in the plugin, and whether asyncio is called from there."""
        by_loop = False
        while frame is not None:
            if frame.f_code.co_filename.startswith(self._homes):
                return f"{shorten(frame.f_code.co_filename)}:{frame.f_lineno}", by_loop
            by_loop |= str(frame.f_globals.get("__name__", "")).startswith("asyncio.")
            frame = frame.f_back
        return None, by_loop


def _kind(event: str) -> str:
    if event == "open":
        return "open"
    if event == "socket.__new__":
        return "socket"
    if event in _THREAD_EVENTS:
        return "thread"
    return "process" if event in _PROCESS_EVENTS else ""


class _Descriptor(NamedTuple):
    """What a descriptor is open for: kind of file, identity, and how the kernel names it."""

    mode: int
    identity: tuple[int, int]
    link: str


class State(NamedTuple):
    """What of a process a fork loses or shares, or belongs to all of it.

    Attributes:
        descriptors: what is open.
        threads: how many threads there are.
        python_threads: how many of them Python knows.
        children: the pids of its children.
        handlers: what is done at each signal.
        directory: the working directory.
        mask: the file mode mask (umask(2)).
        socket_timeout: the time-out of new sockets, in seconds.
    """

    descriptors: Mapping[int, _Descriptor]
    threads: int
    python_threads: int
    children: frozenset[int]
    handlers: Mapping[int, object]
    directory: str
    mask: int
    socket_timeout: float | None


def look() -> State:
    """Return the state of this process."""
    gc.collect()  # what is only kept by a cycle is closed by and by
    mask = os.umask(0)
    os.umask(mask)
    return State(
        dict(_descriptors()),
        len(os.listdir("/proc/self/task")),
        threading.active_count(),
        frozenset(processes.children()),
        {number: signal.getsignal(number) for number in signal.valid_signals()},
        _directory(),
        mask,
        socket.getdefaulttimeout(),
    )


def look_after(before: State) -> State:
    """Return the state once threads that are ending have ended: the kernel takes a moment."""
    until = time.monotonic() + _SETTLE_SECONDS
    ours = threading.active_count()
    while time.monotonic() < until:
        if len(os.listdir("/proc/self/task")) <= max(before.threads, ours):
            break
        os.sched_yield()
    return look()


def compare(before: State, after: State, traces: Traces, home: str) -> Iterator[Finding]:
    """Yield what has changed that a fork loses or shares.

    Args:
        before: the state before the plugin was loaded.
        after: the state now.
        traces: what the plugin did meanwhile.
        home: the plugin's own file, where no better place is known.
    """
    yield from _compare_descriptors(before, after, traces, home)
    more = after.threads - before.threads
    if more > 0:
        # A thread of the module _thread is known by its audit event alone, from Python 3.12 on.
        place, of_python = traces.place("thread"), after.python_threads > before.python_threads
        code = "leaves-thread" if place or of_python else "native-threads"
        yield Finding(code, f"it leaves {_counted(more, 'thread')} running", place or home)
    started = after.children - before.children
    if started:
        names = ", ".join(sorted(processes.command_name(pid) or "ended" for pid in started))
        place = traces.place("process") or home
        yield Finding("leaves-process", f"it leaves a child process behind: {names}", place)
    changed = [
        _name(number)
        for number, handler in after.handlers.items()
        if handler != before.handlers.get(number)
    ]
    if changed:
        yield Finding("changes-signals", f"it handles {', '.join(changed)}", home)
    for what, was, now in (
        ("the working directory", before.directory, after.directory),
        ("the file mode mask", f"{before.mask:04o}", f"{after.mask:04o}"),
        ("the time-out of all sockets", before.socket_timeout, after.socket_timeout),
    ):
        if was != now:
            yield Finding("changes-process", f"{what} was {was} and is {now}", home)


def _compare_descriptors(
    before: State, after: State, traces: Traces, home: str
) -> Iterator[Finding]:
    lost = [
        each
        for each, was in before.descriptors.items()
        if each not in after.descriptors or after.descriptors[each].identity != was.identity
    ]
    if lost:
        numbers = ", ".join(map(str, lost))
        yield Finding("closes-descriptors", f"it closes or replaces descriptor {numbers}", home)
    new = [now for each, now in after.descriptors.items() if each not in before.descriptors]
    loops = [each for each in new if "eventpoll" in each.link]
    sockets = [each for each in new if stat.S_ISSOCK(each.mode)]
    by_loop, by_hand = traces.place("event loop"), traces.place("socket")
    if loops:
        what = f"it leaves {_counted(len(loops), 'epoll instance')} open"
        yield Finding("leaves-event-loop", what, by_loop or home)
    if sockets and (by_hand or not by_loop):  # a loop of asyncio has two of its own
        what = f"it leaves {_counted(len(sockets), 'socket')} open"
        yield Finding("leaves-socket", what, by_hand or home)
    for link in dict.fromkeys(each.link for each in new if each not in (*loops, *sockets)):
        place = traces.place("open", detail=link) or home
        yield Finding("leaves-file", f"it leaves {shorten(link)} open", place)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _descriptors() -> Iterator[tuple[int, _Descriptor]]:
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the listing itself
            status, link = os.fstat(int(name)), os.readlink(f"/proc/self/fd/{name}")
            if link not in _UNIMPORTANT:
                identity = status.st_dev, status.st_ino
                yield int(name), _Descriptor(status.st_mode, identity, link)


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "(removed)"

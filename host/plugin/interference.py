"""Refuses plugins that take away what the host's processes live on, while they are loaded."""

from __future__ import annotations

import _thread
import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

from host.errors import Interrupted, PluginError
from host.plugin.discovery import Source

_MODULES = (os, select, signal, sys, time, socket, fcntl, mmap, resource, _thread)
"""Of these, nothing that can be called may be gone: nobody knows who calls it."""

# What the host does with its processes, descriptors and clocks. Something else in its place would
# be called by the supervisor, where an error ends the host, and by each worker.
_CORE: Mapping[ModuleType, str] = {
    os: (
        "_exit close dup dup2 eventfd eventfd_read eventfd_write execv execve fork fstat getpid"
        " getppid kill killpg memfd_create pidfd_open pipe pipe2 posix_spawn pread read"
        " register_at_fork sched_yield set_blocking set_inheritable waitid waitpid"
        " waitstatus_to_exitcode write"
    ),
    select: "epoll poll select",
    signal: (
        "getitimer getsignal pidfd_send_signal pthread_sigmask set_wakeup_fd setitimer siginterrupt"
        " signal"
    ),
    sys: "getrecursionlimit setrecursionlimit",
    time: "clock_gettime monotonic monotonic_ns sleep thread_time time",
    socket: "SocketType send_fds socket socketpair",
    fcntl: "fcntl",
    mmap: "mmap",
    resource: "getrlimit prlimit setrlimit",
    _thread: "start_new_thread",
}
_SHOWN = 5
_MONKEYS = "Monkey patching by gevent or eventlet does so; it cannot be used here."
_OWN = (
    "Leave them alone while the plugin is imported: they are those of the host, too. Give what you"
    " have made to whoever needs it, or put it in their place in on_worker_start."
)

_TIMERS = {
    signal.ITIMER_REAL: ("ITIMER_REAL, as signal.alarm does", "SIGALRM"),
    signal.ITIMER_VIRTUAL: ("ITIMER_VIRTUAL", "SIGVTALRM"),
    signal.ITIMER_PROF: ("ITIMER_PROF", "SIGPROF"),
}
_SLACK_SECONDS = 1.0

Callables = dict[ModuleType, dict[str, Any]]


class _Before(NamedTuple):
    """How the process was before a plugin was loaded.

    Attributes:
        callables: what can be called, of each module.
        now: the monotonic clock.
        timers: how long each still runs, 0 for none, and how long again then.
        recursion: how deep calls may be.
        cpu: the limit of CPU time: what is asked for, and the most that may be asked for.
    """

    callables: Callables
    now: float
    timers: Mapping[int, tuple[float, float]]
    recursion: int
    cpu: tuple[int, int]


@contextmanager
def leaves_process_alone(source: Source) -> Iterator[None]:
    """Check that a plugin leaves the host's process alone while it is imported and constructed.

    What it takes away is put back: the host can then say so, or go on without the plugin.

    Raises:
        PluginError: a function is gone or replaced, or something is set that ends the process.
    """
    before = _look()
    try:
        yield
    except Interrupted:  # the host is told to stop: that is to be said
        list(_put_right(before, source))
        raise
    finally:
        wrong = list(_put_right(before, source))
        if wrong:
            raise wrong[0]


def _look() -> _Before:
    return _Before(
        {
            module: {name: value for name, value in vars(module).items() if callable(value)}
            for module in _MODULES
        },
        _now(),
        {number: signal.getitimer(number) for number in _TIMERS},
        sys.getrecursionlimit(),
        resource.getrlimit(resource.RLIMIT_CPU),
    )


def _now() -> float:
    """Return the time of a clock that tests of plugins leave alone: they replace time.monotonic."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _put_right(before: _Before, source: Source) -> Iterator[PluginError]:
    """Yield what is wrong with the process now, once it is put right."""
    refused = _Refusal(source)
    # First of all, since the rest is done with these functions.
    if taken := list(_put_back(before.callables)):
        yield refused.for_functions(taken)
    passed = _now() - before.now
    for number, (name, ends) in _TIMERS.items():
        if _is_set(signal.getitimer(number), before.timers[number], passed):
            seconds, again = before.timers[number]
            signal.setitimer(number, max(seconds - passed, 0.001) if seconds else 0.0, again)
            yield refused(
                f"it leaves a timer running ({name}), which would end the host by {ends}",
                "A timer outlives an exec, and its handler does not. Use worker.call_later.",
                "leaves-timer",
            )
    if sys.getrecursionlimit() < before.recursion:
        low = sys.getrecursionlimit()
        sys.setrecursionlimit(before.recursion)
        yield refused(
            f"it lowers the recursion limit of the whole host to {low}",
            "Leave sys.setrecursionlimit alone, or count the depth of your own calls.",
            "lowers-limits",
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if _as_number(soft) < _as_number(before.cpu[0]):
        most = min((before.cpu[0], hard), key=_as_number)
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))
        yield refused(
            f"it limits the CPU time of the whole host to {soft} s (RLIMIT_CPU), after which the"
            " kernel ends each of its processes",
            "Limit it in on_worker_start, where it is the worker's own.",
            "lowers-limits",
        )


def _is_set(now: tuple[float, float], before: tuple[float, float], passed: float) -> bool:
    """Tell whether a timer runs that did not, or another than whoever started the host has set."""
    seconds, again = now
    if not seconds:
        return False
    if again and again == before[1]:  # it goes off again and again
        return seconds > max(before)
    least = before[0] - passed - _SLACK_SECONDS
    return again != before[1] or not least <= seconds <= before[0]


def _as_number(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else limit


class _Refusal(NamedTuple):
    """Makes the errors of one plugin."""

    source: Source

    def __call__(self, cause: str, hint: str, code: str) -> PluginError:
        source = self.source
        return PluginError(source.name, cause, origin=source.origin, hint=hint, code=code)

    def for_functions(self, taken: list[tuple[str, bool]]) -> PluginError:
        """Return the error for functions that are gone, or are others now."""
        for name, _ in taken:
            if name == "select.epoll":
                cause = "it takes select.epoll away, by which all processes of the host wait"
                return self(cause, _MONKEYS, "takes-epoll")
        shown = ", ".join(name for name, _ in taken[:_SHOWN])
        more = f" and {len(taken) - _SHOWN} more" if len(taken) > _SHOWN else ""
        does = "takes away" if any(gone for _, gone in taken) else "replaces"
        cause = f"it {does} {shown}{more}, for the whole host, which cannot work without"
        return self(cause, _OWN, "takes-functions")


def _put_back(before: Callables) -> Iterator[tuple[str, bool]]:
    """Put back what is gone, and what the host needs itself; yield each, and whether it is gone."""
    for module, callables in before.items():
        now, core = vars(module), _CORE[module].split()
        for name, value in callables.items():
            there: Callable[..., object] | None = now.get(name)
            if there is value or (callable(there) and name not in core):
                continue
            now[name] = value
            yield f"{module.__name__}.{name}", not callable(there)

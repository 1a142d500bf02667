"""Refuses plugins that take away what the host's processes live on, while they are loaded."""

from __future__ import annotations

import _thread
import builtins
import collections
import errno
import fcntl
import functools
import heapq
import itertools
import json
import logging
import math
import mmap
import os
import random
import re
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from host.errors import Interrupted, PluginError
from host.runtime import descriptors
from host.runtime.descriptors import Identity
from host.text import told_with_place

_MODULES = (os, select, signal, sys, time, socket, fcntl, mmap, resource, _thread)
"""Of these, nothing that can be called may be gone: nobody knows who calls it."""
_COMMON = (
    *(builtins, collections, functools, heapq, itertools, json, logging, math, random, re, struct),
    *(threading, traceback),
)
"""Of these, nothing that is public: the host's own code has it from there when it is called."""

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
_is_callable = callable  # also when a plugin has taken it away
_IMPORT = "__import__"
"""It may be wrapped, as those do who import lazily."""
_SHOWN = 5
_TAKES = "takes-functions"
_MONKEYS = "Monkey patching by gevent or eventlet does so; it cannot be used here."
LEAVE_ALONE = (
    "Leave them alone until workers start: they are those of the host, too. Give what you have made"
    " to whoever needs it, or put it in their place in on_worker_start."
)

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
"""Limits of the machine are told elsewhere, with the figures that they are compared with."""

_TIMERS = {
    signal.ITIMER_REAL: ("ITIMER_REAL, as signal.alarm does", "SIGALRM"),
    signal.ITIMER_VIRTUAL: ("ITIMER_VIRTUAL", "SIGVTALRM"),
    signal.ITIMER_PROF: ("ITIMER_PROF", "SIGPROF"),
}
_SLACK_SECONDS = 1.0

Callables = dict[ModuleType, dict[str, Any]]


def _nothing() -> None:
    """Be satisfied."""


class Keeping(NamedTuple):
    """What plugins must leave alone while they are loaded, besides what is the same in any process.

    Attributes:
        descriptors: those of the host. In place of one that is closed, /dev/null is open then.
        do_essentials: does what each process of the host does all the time; it raises whatever
            it wants to if that does not work.
    """

    descriptors: Collection[int] = ()
    do_essentials: Callable[[], object] = _nothing


NOTHING = Keeping()


class Blamed(Protocol):
    """A plugin, or several, to be named if something is wrong."""

    @property
    def name(self) -> str:
        """Return its name."""

    @property
    def origin(self) -> str:
        """Return where it came from."""


class BrokenError(PluginError):
    """The host cannot work after what a plugin has done, which nobody knows how to put right."""


class _Before(NamedTuple):
    """How the process was before a plugin was loaded.

    Attributes:
        callables: what can be called, of each module.
        now: the monotonic clock.
        timers: how long each still runs, 0 for none, and how long again then.
        recursion: how deep calls may be.
        cpu: the limit of CPU time: what is asked for, and the most that may be asked for.
        files: which file each descriptor of the host is open for.
        most_files: how many descriptors there may be.
    """

    callables: Callables
    now: float
    timers: Mapping[int, tuple[float, float]]
    recursion: int
    cpu: tuple[int, int]
    files: Mapping[int, Identity]
    most_files: int


class Watch:
    """Puts right what plugins do to a process in which they run, as far as it can be.

    Args:
        source: those that may have done it.
        keeping: what they must leave alone as well.
    """

    def __init__(self, source: Blamed, keeping: Keeping = NOTHING) -> None:
        self.source, self._keeping = source, keeping
        self._before = _look(keeping.descriptors)
        self._tracing = sys.gettrace(), sys.getprofile()
        names = {module: core.split() for module, core in _CORE.items()}
        self._core: Callables = {
            module: {name: found[name] for name in names.get(module, ()) if name in found}
            for module, found in self._before.callables.items()
            if module in names
        }
        self._builtins = self._before.callables[builtins]

    def glance(self) -> list[PluginError]:
        """Return what is wrong of what takes 50 µs to look at, once it is put right."""
        taken = self._put_back_builtins()
        return list(self._put_right(taken))

    def look(self) -> list[PluginError]:
        """Return all that is wrong, once it is put right as far as it can be."""
        taken = self._put_back_builtins()
        found = list(self._put_right(taken))
        return found + list(_put_right(self._before, self.source, self._keeping))

    def lost(self) -> list[PluginError]:
        """Return what is wrong with the descriptors; in their places /dev/null is open then."""
        return list(_put_right_descriptors(self._before.files, _Refusal(self.source)))

    def _put_back_builtins(self) -> list[tuple[str, bool]]:
        """Put back what is gone, before anything else: nothing of it is called meanwhile."""
        now, taken = builtins.__dict__, []
        for name, value in self._builtins.items():
            there = now.get(name)
            if there is not value and not _is_callable(there):
                now[name] = value
                taken.append((f"builtins.{name}", True))
        return taken

    def _put_right(self, taken: list[tuple[str, bool]]) -> Iterator[PluginError]:
        refused = _Refusal(self.source)
        if taken := taken + list(_put_back(self._core)):
            yield refused.for_functions(taken)
        yield from _put_right_limits(self._before, refused)
        trace, profile = self._tracing
        left = []
        if sys.gettrace() is not trace:
            sys.settrace(trace)
            left.append("sys.settrace")
        if sys.getprofile() is not profile:
            sys.setprofile(profile)
            left.append("sys.setprofile")
        if left:
            yield refused(
                f"it leaves a function set by {' and '.join(left)}, which slows down all that the"
                " host does and may raise anywhere",
                "Take it away before the hook returns.",
                "leaves-tracing",
            )


@contextmanager
def leaves_process_alone(source: Blamed, keeping: Keeping = NOTHING) -> Iterator[None]:
    """Check that a plugin leaves the host's process alone, while it is loaded or a host starts.

    What it takes away is put back: the host can then say so, or go on without the plugin.

    Args:
        source: the plugin.
        keeping: what it must leave alone as well.

    Raises:
        PluginError: a function is gone or replaced, a descriptor is closed, something is set that
            ends the process, or the host cannot work any more for another reason.
    """
    before = _look(keeping.descriptors)
    try:
        yield
    except Interrupted:  # the host is told to stop: that is to be said
        list(_put_right(before, source, keeping))
        raise
    finally:
        wrong = list(_put_right(before, source, keeping))
        if wrong:
            raise wrong[0]


def _look(own: Collection[int]) -> _Before:
    return _Before(
        {module: _callables(module) for module in (*_MODULES, *_COMMON)},
        _now(),
        {number: signal.getitimer(number) for number in _TIMERS},
        sys.getrecursionlimit(),
        resource.getrlimit(resource.RLIMIT_CPU),
        descriptors.identities(own),
        _most_files(),
    )


def _most_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _callables(module: ModuleType) -> dict[str, Any]:
    public_only = module in _COMMON
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value) and not (public_only and name.startswith("_") and name != _IMPORT)
    }


def _now() -> float:
    """Return the time of a clock that tests of plugins leave alone: they replace time.monotonic."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _put_right(before: _Before, source: Blamed, keeping: Keeping) -> Iterator[PluginError]:
    """Yield what is wrong with the process now, once it is put right."""
    refused = _Refusal(source)
    # First of all, since the rest is done with these functions.
    if taken := list(_put_back(before.callables)):
        yield refused.for_functions(taken)
    yield from _put_right_descriptors(before.files, refused)
    yield from _put_right_limits(before, refused)
    if failure := _failure(keeping, before):
        cause = f"the host cannot work with what it has done: {failure}"
        yield refused(cause, LEAVE_ALONE, _TAKES, kind=BrokenError)


def _put_right_limits(before: _Before, refused: _Refusal) -> Iterator[PluginError]:
    """Yield what is set and would end the process or its calls, once it is as before."""
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


def _put_right_descriptors(
    before: Mapping[int, Identity], refused: _Refusal
) -> Iterator[PluginError]:
    now = descriptors.identities(before)
    lost = [number for number, identity in before.items() if now.get(number) != identity]
    if not lost:
        return
    descriptors.fill(before.keys() - now)
    yield refused(
        f"it closes or replaces the host's descriptors {_few(list(map(str, lost)))}",
        "Close what was opened, and nothing by number.",
        "closes-descriptors",
    )


def _failure(keeping: Keeping, before: _Before) -> str:
    """Return why the host cannot work any more, or ""; imports work again then."""
    try:
        keeping.do_essentials()
    except Exception as error:
        setattr(builtins, _IMPORT, before.callables[builtins][_IMPORT])
        is_scarce = isinstance(error, OSError) and error.errno in _NO_ROOM
        if is_scarce and _most_files() >= before.most_files:
            return ""
        return told_with_place(error)
    return ""


def _few(names: list[str]) -> str:
    """Return the first of some names, and how many there are besides."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


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

    source: Blamed

    def __call__(
        self, cause: str, hint: str, code: str, kind: type[PluginError] = PluginError
    ) -> PluginError:
        source = self.source
        return kind(source.name, cause, origin=source.origin, hint=hint, code=code)

    def for_functions(self, taken: list[tuple[str, bool]]) -> PluginError:
        """Return the error for functions that are gone, or are others now."""
        for name, _ in taken:
            if name == "select.epoll":
                cause = "it takes select.epoll away, by which all processes of the host wait"
                return self(cause, _MONKEYS, "takes-epoll")
        shown = _few([name for name, _ in taken])
        does = "takes away" if any(gone for _, gone in taken) else "replaces"
        cause = f"it {does} {shown}, for the whole host, which cannot work without"
        return self(cause, LEAVE_ALONE, _TAKES)


def _put_back(before: Callables) -> Iterator[tuple[str, bool]]:
    """Put back what is gone, and what the host needs itself; yield each, and whether it is gone."""
    for module, callables in before.items():
        now, core = vars(module), _CORE.get(module, "").split()
        for name, value in callables.items():
            there: Callable[..., object] | None = now.get(name)
            if there is value or (callable(there) and name not in core):
                continue
            now[name] = value
            yield f"{module.__name__}.{name}", not callable(there)

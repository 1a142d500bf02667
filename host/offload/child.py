"""The program of a process of a pool: it takes one task after the other from its socket.

The host reads this file, `printing` and `background` when it starts, and a worker hands their text,
as one, to each interpreter that it spawns. So the program is of the worker's version whatever is
installed meanwhile. It imports nothing of the host, whose start would cost more than its own, but
the standard library alone.

A frame is a kind, the length of what follows, and that. The worker sends one task at a time.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from host.offload.background import compute_in_background
from host.offload.printing import Output, Stream

HEADER = struct.Struct("!BQ")
"""A kind and a length."""
SETUP, TASK = 1, 2
"""What the worker sends: how to begin, and tasks."""
ANSWERS = range(11, 18)
READY, NOT_READY, VALUE, RAISED, UNPICKLABLE, STDOUT, STDERR = ANSWERS
"""What is sent back: whether it has begun, the end of a task in one of three ways, and output."""
FUNCTION = struct.Struct("!H")
"""What a task begins with: the length of its function, which comes next and is pickled by itself,
or 0 if it is pickled with its arguments."""
LAST = 64
"""Added to the kind of an answer after which the process ends, to be replaced."""
FOLLOWED = 64
"""Added to the kind of a task while others wait for a process: the next one comes at once."""
SOCKET = 3
"""The descriptor of the socket."""
LINEAGE = 4
"""The descriptor by which the supervisor tells what this process is (`runtime.lineage`)."""
_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_DEADLY = (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that are for the supervisor, and reach all processes from a terminal or a service, as
SIGINT does."""
_FEW = 65_536
"""How many bytes are asked for at first: most tasks have fewer."""
_PROTOCOL = pickle.HIGHEST_PROTOCOL
_FOLLOWING_SECONDS = 0.001
"""For how long a task is looked for that follows: so long a worker may be at another turn."""
_MOST_LOOKS = 50_000
"""How often is looked at most, whatever the clock says."""
_MOST_WITHOUT = 63
"""How many waits go by at most before polling is tried again."""


class Setup(NamedTuple):
    """What the worker says first.

    Attributes:
        path: where modules are looked for.
        files: modules that the host has made of files: name and path.
        preload: the names of modules that are imported first.
        nice: how much less of a CPU the process gets than the worker (nice(2)).
        only_idle_cpu: whether it gets one only where nobody else wants it (sched(7)).
        max_tasks: how many tasks there are before the process ends; 0 for any number.
        max_bytes: how much memory it may have after a task; 0 for any amount.
        poll_seconds: for how long it looks for the next task before it sleeps.
    """

    path: list[str]
    files: dict[str, str]
    preload: Sequence[str]
    nice: int
    only_idle_cpu: bool
    max_tasks: int
    max_bytes: int
    poll_seconds: float


class Attempts:
    """Says which waits begin with polling: after one in vain, twice as many do not.

    So what polling costs is bounded where it does not help, and it helps where it can.
    """

    __slots__ = ("_left", "_without")

    def __init__(self) -> None:
        self._without = self._left = 0

    def due(self) -> bool:
        """Tell whether this wait is to begin with polling; if so, `note` is to be called."""
        if self._left:
            self._left -= 1
            return False
        return True

    def note(self, *, found: bool) -> None:
        """Note whether what was waited for has come meanwhile."""
        self._without = 0 if found else min(self._without * 2 + 1, _MOST_WITHOUT)
        self._left = self._without


class FileLoader(importlib.machinery.SourceFileLoader):
    """Compiles anew each time, as the host does: no `__pycache__` beside such a file."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of a module."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class Files(importlib.abc.MetaPathFinder):
    """Finds modules that the host has made of files, under the names that it gave them.

    Args:
        paths: the path of each file, by the name of its module.
    """

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = paths

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of a module, if it is one of them."""
        del path, target
        file = self._paths.get(fullname)
        if file is None:
            return None
        loader = FileLoader(fullname, file)
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


def _do_nothing(_number: int, _frame: object) -> None:
    """Take a signal of the supervisor. One that is ignored would be in programs of tasks, too."""


class Forks(threading.local):
    """Has forks of tasks end with this process, and take signals as any process does.

    So do programs that are started, as to signals; this process takes none of the supervisor's.
    A program has no handlers of who has started it (execve(2)), and a fork is given the usual ones.
    Deadly signals wait meanwhile: none is lost that is sent to a fork as soon as it is there. Of
    SIGINT one may be, as in any fork of Python: what its handler raises then is raised to nobody.

    Only what the main thread forks, which does the tasks, ends with it: the kernel means the parent
    *thread* (prctl(2)), and others may end long before the process does. A fork of a fork does not
    either: that is how a daemon takes its leave of who has started it.
    """

    _mask: Iterable[int] = ()
    _pid = 0
    """This process; 0 in forks of it, and in all threads but the main one."""

    def watch(self) -> None:
        """Take the signals of the supervisor, and see to each fork from now on."""
        self._pid = os.getpid()
        for number in (signal.SIGINT, *_DEADLY):
            signal.signal(number, _do_nothing)
            signal.siginterrupt(number, False)  # nor does it interrupt a library in its calls
        os.register_at_fork(
            before=self._before, after_in_parent=self._unblock, after_in_child=self._in_child
        )

    def _before(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _DEADLY)

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _in_child(self) -> None:
        if self._pid and not _die_with(self._pid):
            os._exit(0)
        self._pid = 0
        for number in (signal.SIGINT, *_DEADLY):
            if signal.getsignal(number) is _do_nothing:  # else a task has set it
                usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, usual)
        self._unblock()


def main(parent: int, *, has_lineage: bool) -> None:
    """Be a process of a pool, until the worker closes the other end of the socket.

    Args:
        parent: the pid of the worker.
        has_lineage: whether it was given the memory of the host's processes.
    """
    if not _die_with(parent):
        return
    os.closerange(LINEAGE + has_lineage, os.sysconf("SC_OPEN_MAX"))
    Forks().watch()
    # It says "<stdin>", which multiprocessing would have each process that it spawns run first.
    sys.modules["__main__"].__dict__.pop("__file__", None)
    for descriptor in (SOCKET, LINEAGE)[: 1 + has_lineage]:  # programs of tasks do not have them
        os.set_inheritable(descriptor, False)
    with socket.socket(fileno=SOCKET) as sock:
        channel = Channel(sock)
        with suppress(EOFError, ConnectionError):
            _, setup = channel.receive()
            channel.work(Setup(**pickle.loads(setup)))
    os._exit(0)  # whatever threads the tasks have left behind


class Channel:
    """The process's end of its socket.

    Args:
        sock: the socket; the caller closes it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pid = os.getpid()
        self._attempts, self._poll_seconds = Attempts(), 0.0
        self._attempts_to_follow, self._is_followed = Attempts(), False
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._lock = threading.Lock()  # threads that tasks have left behind may print

    def receive(self) -> tuple[int, bytes | bytearray]:
        """Wait for the next frame; return its kind and what it has.

        Raises:
            EOFError: the worker has closed the socket.
        """
        if self._poll_seconds:
            attempts, seconds = self._attempts, self._poll_seconds
            if self._is_followed:
                # It costs the worker more to wake a process than to give it its task.
                attempts, seconds = self._attempts_to_follow, max(seconds, _FOLLOWING_SECONDS)
            if attempts.due():
                attempts.note(found=self._busy_poll(seconds))
        # The worker sends no frame before it has the answer to the last one: this is one, at most.
        start = self._receive_some()
        while len(start) < HEADER.size:
            start += self._receive_some()
        kind, size = HEADER.unpack_from(start)
        if len(start) == HEADER.size + size:
            return kind, start[HEADER.size :]
        data = bytearray(size)
        view = memoryview(data)
        count = len(start) - HEADER.size
        view[:count] = start[HEADER.size :]
        while count < size:
            more = self._sock.recv_into(view[count:])
            if not more:
                raise EOFError
            count += more
        return kind, data

    def is_fork(self) -> bool:
        """Tell whether this process is one that a task has forked: it has no part in the socket."""
        return os.getpid() != self._pid

    def send(self, kind: int, data: bytes = b"") -> None:
        """Send a frame, whole."""
        size = len(data)
        with self._lock:
            if size < _FEW:
                self._sock.sendall(HEADER.pack(kind, size) + data)
            else:
                self._sock.sendall(HEADER.pack(kind, size))
                self._sock.sendall(data)

    def _open_output(self) -> None:
        """Have what is printed sent to the worker."""
        for name, kind in (("stdout", STDOUT), ("stderr", STDERR)):
            setattr(sys, name, Stream(Output(kind, self)))

    def _busy_poll(self, seconds: float) -> bool:
        """Look for a frame without sleeping; tell whether one has come in time."""
        poll, until = self._poll.poll, monotonic() + seconds
        for _ in range(_MOST_LOOKS):  # a task may have replaced the clock
            if poll(0):
                return True
            if monotonic() >= until:
                break
        return False

    def _receive_some(self) -> bytes:
        data = self._sock.recv(_FEW)
        if not data:
            raise EOFError
        return data

    def work(self, setup: Setup) -> None:
        """Begin as the worker says, and do its tasks."""
        self._poll_seconds = setup.poll_seconds
        compute_in_background(setup.nice, only_idle_cpu=setup.only_idle_cpu)
        sys.path[:] = setup.path
        sys.meta_path.append(Files(setup.files))
        self._open_output()
        try:
            for name in setup.preload:
                importlib.import_module(name)
        except BaseException as error:
            texts = (text_of(error), stack_of(error))
            self.send(NOT_READY, "\0".join(texts).encode(errors="backslashreplace"))
            return
        self.send(READY)
        done = 0
        while True:
            kind, task = self.receive()
            self._is_followed = bool(kind & FOLLOWED)
            kind, answer = perform(task)
            if self.is_fork():  # it has come back, too
                os._exit(0)
            del task
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            except Exception:  # a task has closed or replaced them
                self._open_output()
            done += 1
            if done == setup.max_tasks or has_more_than(setup.max_bytes):
                kind |= LAST
            self.send(kind, answer)
            if kind & LAST:
                return
            del answer


def perform(task: bytes | bytearray) -> tuple[int, bytes]:
    """Do a task; return the kind of its answer, and the answer.

    Args:
        task: the function and, pickled, its arguments, or the items that it is called for.
    """
    func: Any = None
    try:
        (size,) = FUNCTION.unpack_from(task)
        rest = memoryview(task)[FUNCTION.size :]
        if size:
            func = pickle.loads(rest[:size])
            _, args, kwds, items = pickle.loads(rest[size:])
        else:
            func, args, kwds, items = pickle.loads(rest)
        del rest
        value = func(*args, **kwds) if items is None else [func(item) for item in items]
    except BaseException as error:
        return failure(error)
    try:
        return VALUE, pickle.dumps(value, _PROTOCOL)
    except MemoryError as error:
        del value  # so that there is room for the answer
        return failure(error)
    except BaseException as error:
        name = f"{getattr(func, '__module__', '?')}.{getattr(func, '__qualname__', '?')}"
        text = f"the result of {name} cannot be pickled: {text_of(error)}"
        return UNPICKLABLE, text.encode(errors="backslashreplace")


def failure(error: BaseException) -> tuple[int, bytes]:
    """Return the answer that says what a task has raised: itself if that can be pickled."""
    stack = stack_of(error)
    last = LAST if isinstance(error, MemoryError) else 0
    try:
        answer = pickle.dumps((error, stack), _PROTOCOL)
        pickle.loads(answer)  # some cannot be made again of what they keep
    except BaseException:
        text = f"it has raised what cannot be pickled: {stack}"
        return UNPICKLABLE | last, text.encode(errors="backslashreplace")
    return RAISED | last, answer


def text_of(error: BaseException) -> str:
    """Return kind and text of an error, which may have a text that cannot be made."""
    try:
        text = str(error)
    except BaseException as other:
        text = f"(its text cannot be made: {type(other).__name__})"
    return f"{type(error).__name__}: {text}"


def stack_of(error: BaseException) -> str:
    """Return where an error was raised, or only what it is if that cannot be shown."""
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # what is shown of it are its own attributes
        return text_of(error)


def has_more_than(count: int) -> bool:
    """Tell whether this process has more memory resident (proc(5), statm); 0 for any amount.

    It has if nobody can tell: tasks have left no descriptor free, which others will need, too.
    """
    if not count:
        return False
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") > count
    except OSError:
        return True


def _die_with(parent: int) -> bool:
    """Have the kernel kill this process when its parent dies (prctl(2), PR_SET_PDEATHSIG).

    Returns:
        False if it is dead already.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() in (parent, 0)  # 0: a task has made a namespace for its forks


if __name__ == "__main__":
    main(int(sys.argv[2]), has_lineage=sys.argv[3:] == ["lineage"])

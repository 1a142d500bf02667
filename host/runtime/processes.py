"""Processes: fork, execute, reap, and die with the parent."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from host.errors import ExitCode
from host.runtime import early_signals, forks, lineage, streams
from host.runtime.libc import last_error, libc
from host.runtime.origin import Origin
from host.text import printable

_MAX_OUTPUT_BYTES = 65_536
_TOGETHER_SECONDS = 1.0
"""For how long what the kernel has killed is heard of one by one."""
_NOT_EXECUTED = 127
"""The exit code of a child whose program cannot be executed."""
_LONGEST_POLL_MS = 2**31 - 1
"""As poll(2) has it in an int: 25 days."""
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_OOM_STEP = 300
"""A supervisor has 11 MB more than a new worker, and the smallest cgroup for one is 40 MB."""
OOM_HIGHEST = 1000
"""The score of what is to end before all else (proc(5), oom_score_adj)."""


class Exit(NamedTuple):
    """How a process ended: one of `code` and `signal` is None, and both if nobody knows.

    Nobody does if a plugin has called waitpid(2) for all children of the process.

    Attributes:
        oom: whether the kernel killed it for want of memory, as far as it tells.
    """

    pid: int
    code: int | None
    signal: int | None
    oom: bool = False

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows how it ended."""
        return self.code is None and self.signal is None

    @property
    def in_order(self) -> bool:
        """Whether it ended as the host's own processes do when they are told to."""
        return self.code in (ExitCode.OK, ExitCode.CUT_SHORT)

    def __str__(self) -> str:
        if self.is_unknown:
            return "ended, but a plugin has taken its exit code (waitpid)"
        if self.signal is None:
            return f"exit code {self.code}"
        if self.oom:
            return "killed by SIGKILL, out of memory"
        try:
            return f"killed by {signal.Signals(self.signal).name}"
        except ValueError:
            return f"killed by signal {self.signal}"


def fork(child: Callable[[], int]) -> int:
    """Fork; return the child's pid. The child runs `child` and exits with what it returns.

    The child never returns into the caller's code, whatever becomes of its standard streams: no
    `finally` of the parent runs twice.

    Raises:
        OSError: EAGAIN or ENOMEM (fork(2)).
    """
    nothing_waits = streams.flush()
    pid = forks.fork()
    if pid:
        return pid
    code = 1
    try:
        faulthandler.disable()  # who reaps it tells of its end
        if not nothing_waits:
            streams.forget()
        lineage.join()
        code = child()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            streams.flush()
        finally:
            os._exit(code)


def start_program(
    file: str,
    arguments: list[str],
    origin: Origin,
    output: int,
    errors: int,
    passed: int | None = None,
) -> int:
    """Execute a program in a child that ends with this process; return the child's pid.

    The kernel is asked for that before the program is executed, so that there is no moment
    without it: execve(2) keeps it, unless the file has capabilities of its own (prctl(2)).

    Args:
        file: what is executed.
        arguments: all arguments, the program's name first.
        origin: all variables, the working directory and the umask.
        output: what descriptor 1 of the program refers to; its descriptor 0 is /dev/null.
        errors: the same for descriptor 2. It also gets one line if the program cannot be executed;
            the child then ends with the exit code 127, as in a shell.
        passed: a descriptor that the program gets under its number, if there is one.

    Raises:
        OSError: EAGAIN or ENOMEM (fork(2)).
    """
    parent = os.getpid()

    def program() -> int:
        signal.set_wakeup_fd(-1)  # a signal to this process is none to the parent
        if not die_with_parent(parent):
            return _NOT_EXECUTED
        variables = {**origin.environment, **lineage.passed()}
        origin.go_back()
        os.umask(origin.umask)
        # What is ignored or blocked stays so (execve(2)).
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        early_signals.unblock()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, number in ((nothing, 0), (output, 1), (errors, 2)):
            os.dup2(descriptor, number)
        if passed is not None:
            os.set_inheritable(passed, True)
        try:
            os.execve(file, arguments, variables)
        except OSError as error:
            os.write(2, f"cannot start a process: {error.strerror}\n".encode())
        return _NOT_EXECUTED

    return fork(program)


def end_of(descriptor: int) -> str:
    """Return the end of what a process has written to a file, 64 KiB at most: it matters most."""
    start = max(0, os.fstat(descriptor).st_size - _MAX_OUTPUT_BYTES)
    return os.pread(descriptor, _MAX_OUTPUT_BYTES, start).decode("utf-8", "replace")


def reap() -> Iterator[Exit]:
    """Collect every child that has ended (waitpid(2)); one SIGCHLD may stand for many."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield _exit(pid, status)


def _exit(pid: int, status: int) -> Exit:
    code = os.waitstatus_to_exitcode(status)
    return Exit(pid, code if code >= 0 else None, -code if code < 0 else None)


def reap_one(pid: int) -> Exit:
    """Collect one child that has ended; nobody may know how, if a plugin has reaped it."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return Exit(pid, None, None)
    return _exit(pid, status)


def is_lost(pid: int) -> bool:
    """Tell whether a child has ended and was reaped by somebody else: `reap` will not yield it."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def has_ended(pid: int, seconds: float) -> bool:
    """Wait until a process has ended, and tell whether it has; it is not reaped.

    Args:
        pid: a process that nobody has reaped yet.
        seconds: how long it may take.

    Raises:
        ProcessLookupError: somebody has reaped it.
        OSError: EMFILE (pidfd_open(2)).
    """
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(min(seconds * 1000, _LONGEST_POLL_MS)))
    finally:
        os.close(descriptor)


def wait(pid: int, seconds: float) -> Exit | None:
    """Wait until a child has ended, and reap it; kill it if it takes too long.

    Args:
        pid: a child of this process that nobody has reaped yet.
        seconds: how long it may take.

    Returns:
        How it has ended, or None if it had to be killed.

    Raises:
        ProcessLookupError, ChildProcessError: somebody else has reaped it.
        Interrupted: the host is told to stop (see `Signals.interrupting`); the child was killed.
    """
    in_time = False
    try:
        in_time = has_ended(pid, seconds)
    finally:
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return _exit(pid, status) if in_time else None


class OutOfMemory:
    """Tells whether the kernel has killed anything for want of memory since it was last asked.

    It counts such kills, in this process's cgroup if there is one (cgroups(7), memory.events), and
    in the whole machine (/proc/vmstat); it does not say which process was killed.

    Several may be killed before one of them is asked about, so what is counted at once stands for
    as many, for a moment.

    Args:
        path: the file with the counts, if not the one that this machine has.
        clock: tells the time in seconds.
    """

    def __init__(
        self, path: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._clock = _events_path() if path is None else path, clock
        self._count = self._read()
        self._others, self._until = 0, 0.0  # how many nobody has asked about, and until when

    def happened(self) -> bool:
        """Tell whether there was one since the last call, or one more just before it."""
        before, self._count = self._count, self._read()
        more, now = self._count - before, self._clock()
        if now > self._until:
            self._others = 0
        if more > 0:
            self._others, self._until = self._others + more, now + _TOGETHER_SECONDS
        if not self._others:
            return False
        self._others -= 1
        return True

    def _read(self) -> int:
        try:
            with open(self._path, encoding="ascii") as file:
                counts = dict(line.split() for line in file)
            return int(counts.get("oom_kill", 0))
        except (OSError, ValueError):
            return 0


def offer_to_oom_killer(path: str = "/proc/self/oom_score_adj", by: int = _OOM_STEP) -> None:
    """Have the kernel end a child rather than its parent when memory runs out.

    It raises what was inherited, which needs no privilege (proc(5), oom_score_adj). Call it once,
    after the fork. Harmless where that is not allowed.

    Args:
        path: the file with the value, from -1000 to 1000, in thousandths of the memory there is;
            by default that of this process.
        by: how much it is raised.
    """
    with suppress(OSError, ValueError):
        with open(path, encoding="ascii") as file:
            value = min(int(file.read()) + by, OOM_HIGHEST)
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))


def _events_path() -> str:
    with suppress(OSError):
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            group = next((line[3:].strip() for line in file if line.startswith("0::")), None)
        path = f"/sys/fs/cgroup{group}/memory.events"
        if group is not None and os.access(path, os.R_OK):
            return path
    return "/proc/vmstat"


def resident_bytes(pid: int) -> int | None:
    """Return how much memory a process has resident (proc(5), statm); None if it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped by a signal or a debugger (proc(5), stat)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def hide_memory(hidden: bool = True) -> None:
    """Keep the memory of this process from other processes of the same user, and from core dumps.

    It may hold keys. Only root may trace it or write to its files in /proc then, even if they are
    its own (prctl(2), PR_SET_DUMPABLE; proc(5)). Forks are hidden as well, programs that are
    executed are not.
    """
    _prctl(_PR_SET_DUMPABLE, 0 if hidden else 1)


def adopt_orphans() -> None:
    """Become the parent of each descendant whose parent ends (prctl(2), PR_SET_CHILD_SUBREAPER).

    An exec keeps that, and a fork does not have it.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """Return the pids of this thread's children, with those that have ended and are not reaped.

    The kernel gives orphans to the first thread. None are found where it keeps no such list
    (proc_pid_task(5), CONFIG_PROC_CHILDREN).
    """
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def command_name(pid: int) -> str | None:
    """Return the name of a process's command (proc_pid_stat(5)); None if it has ended.

    A process may give itself any name, of 15 bytes at most: what cannot be printed is spelled out.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="backslashreplace") as file:
            before, _, after = file.read().rpartition(")")
    except OSError:
        return None
    return None if after.split()[0] in ("Z", "X") else printable(before.partition("(")[2])


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill this process when `parent` dies (prctl(2), PR_SET_PDEATHSIG).

    Call it in the child, and again after any change of user, which undoes it. The parent may have
    died before the call took effect: that shows in the parent's pid.

    Returns:
        False if the parent is dead already.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def _prctl(option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise last_error()

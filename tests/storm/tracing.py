"""Errors that the kernel seems to return: strace(1) makes system calls of a process fail."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storm.hosts import soon
from storm.rows import SkippedError


def needed(program: str) -> str:
    """Return where a program is, or skip the row."""
    found = shutil.which(program)
    if found is None:
        raise SkippedError(f"{program} is not installed")
    return found


def _traced(pid: int) -> bool:
    return _status(pid).get("TracerPid", "0") != "0"


@contextmanager
def failing(
    pids: Iterable[int], calls: str, error: str, when: str, path: Path | None = None
) -> Iterator[None]:
    """Have system calls of processes fail while the block runs.

    Args:
        pids: the processes; children that they fork are left alone.
        calls: names of system calls, separated by commas.
        error: the errno, as `ENOMEM`.
        when: which calls of each process: `1..3`, or `1+2` for every second one.
        path: only calls on this file.
    """
    inject = ["-e", f"inject={calls}:error={error}:when={when}"]
    if path is not None:
        inject += ["-P", str(path)]
    with _attached(pids, calls, Path("/dev/null"), inject):
        yield


@contextmanager
def noted(pids: Iterable[int], calls: str, notes: Path) -> Iterator[None]:
    """Have system calls written down while the block runs, a line each."""
    with _attached(pids, calls, notes, []):
        yield


@contextmanager
def _attached(pids: Iterable[int], calls: str, output: Path, options: list[str]) -> Iterator[None]:
    wanted = list(pids)
    command = [needed("strace"), "-qq", "-o", str(output), "-e", f"trace={calls}", *options]
    for pid in wanted:
        command += ["-p", str(pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        if not soon(lambda: all(map(_traced, wanted)) or tracer.poll() is not None, 10.0):
            raise SkippedError("strace does not attach")
        if tracer.poll() is not None:
            assert tracer.stderr is not None
            raise SkippedError(f"strace cannot trace here: {tracer.stderr.read().strip()}")
        yield
    finally:
        with _between_calls(wanted):
            with suppress(ProcessLookupError):
                os.kill(tracer.pid, signal.SIGINT)  # it detaches
            tracer.communicate()


@contextmanager
def _between_calls(pids: list[int]) -> Iterator[None]:
    """Keep processes stopped while the block runs, each when it has ended its system call.

    A tracer that detaches in the middle of a call that it was to make fail has made it a call
    without a number, and no longer gives it the errno: it fails with ENOSYS.
    """
    running = [pid for pid in pids if _signalled(pid, signal.SIGSTOP)]
    try:
        soon(lambda: all(map(_stopped, running)), 10.0)
        yield
    finally:
        for pid in running:
            _signalled(pid, signal.SIGCONT)


def _signalled(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _stopped(pid: int) -> bool:
    """Tell whether a process has taken SIGSTOP, which is after a system call, or has ended."""
    fields = _status(pid)
    waiting = int(fields.get("ShdPnd", "0"), 16) & 1 << signal.SIGSTOP - 1
    return not waiting and fields.get("State", "X")[0] in "TtZX"


def _status(pid: int) -> dict[str, str]:
    """Return what proc_pid_status(5) tells of a process; nothing of one that is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}
    return {}

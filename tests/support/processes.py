"""What /proc and pidfds tell about processes that a test watches."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Status:
    """One process, as proc_pid_stat(5) has it."""

    pid: int
    state: str
    parent: int
    session: int


def status(pid: int) -> Status | None:
    """Return the state of a process, or None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, _group, session = text.rpartition(")")[2].split()[:4]
    return Status(pid, state, int(parent), int(session))


def everyone() -> Iterator[Status]:
    """Go through all processes of the machine."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (found := status(int(entry))) is not None:
            yield found


def of_session(session: int) -> list[Status]:
    """Return the processes of a session."""
    return [one for one in remaining() if one.session == session]


def remaining() -> Iterator[Status]:
    """Go through all processes but those that ended and wait for a foreign parent.

    An orphan is reaped by the machine's first process, when that gets round to it.
    """
    return (one for one in everyone() if not (one.state == "Z" and one.parent == 1))


def at_rest(pid: int) -> bool:
    """Tell whether a process sleeps and has no signal to handle (proc_pid_status(5))."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    pending = int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)
    return pending == 0 and fields["State"].split()[0] == "S"


def descendants(pid: int) -> list[Status]:
    """Return the processes that a process and its children have started, and that they have yet."""
    found = children(pid)
    for one in found:
        found += children(one.pid)
    return found


def children(pid: int) -> list[Status]:
    """Return the children of a process, zombies included."""
    return [one for one in everyone() if one.parent == pid]


def descriptors(pid: int) -> list[str]:
    """Return what the descriptors of a process refer to, sorted."""
    return sorted(what for _, what in _links(pid))


def links_to(what: str, pid: int) -> list[Path]:
    """Return those descriptors of a process, as paths in `/proc`, whose target has this text."""
    return [link for link, target in _links(pid) if what in target]


def _links(pid: int) -> Iterator[tuple[Path, str]]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield link, os.readlink(link)


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no memory: is it a zombie?")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Waits for the end of a process that may be anybody's child (pidfd_open(2))."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def ended(self, seconds: float = 0.0) -> bool:
        """Wait at most `seconds` for the end of the process; tell whether it has come."""
        return bool(select.select([self._fd], [], [], seconds)[0])

    def close(self) -> None:
        os.close(self._fd)


def blocked_signals(pid: int) -> set[int]:
    """Return the signals that a process blocks at this moment (proc_pid_status(5), SigBlk)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigBlk:"):
            mask = int(line.split()[1], 16)
            return {number for number in range(1, 65) if mask >> (number - 1) & 1}
    return set()


def says_last_words(pid: int) -> bool:
    """Tell whether a host that cannot start is at its message, which a signal ends with it."""
    blocked = blocked_signals(pid)
    return signal.SIGHUP in blocked and signal.SIGTERM not in blocked

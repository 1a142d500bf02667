"""How little of a CPU a session gets where the kernel shares CPUs out between sessions."""

import re
from pathlib import Path


def group_of(pid: int) -> str:
    """Return the group of a process, by its session; nothing if no session of its line made one."""
    return Path(f"/proc/{pid}/autogroup").read_text()


def niceness_of_session(pid: int) -> int:
    """Return how nice the session of a process is (sched(7), autogroup)."""
    (found,) = re.findall(r"nice (-?\d+)", group_of(pid))
    return int(found)

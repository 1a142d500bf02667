"""How little of a CPU a session gets where the kernel shares CPUs out between sessions."""

import re
from pathlib import Path


def niceness_of_session(pid: int) -> int:
    """Return how nice the session of a process is (sched(7), autogroup)."""
    (found,) = re.findall(r"nice (-?\d+)", Path(f"/proc/{pid}/autogroup").read_text())
    return int(found)

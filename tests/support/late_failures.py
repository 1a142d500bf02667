"""Plugins that load in the rehearsal of a reload, and fail after the exec."""

from __future__ import annotations

from typing import NamedTuple

_ELSEWHERE = "import os, select, time\nif os.getppid() != {pid}:\n    {does}\n"
_ITSELF = "import os, select, time\nif os.getpid() == {pid}:\n    {does}\n"


class LateFailure(NamedTuple):
    """What a plugin does while it is imported.

    Attributes:
        does: statements; those after the first line are indented.
        phrase: what the reason says for which the reload fails.
        itself: whether it is done in the supervisor alone; else wherever the parent is not the
            supervisor, as it is in the first rehearsal.
    """

    does: str
    phrase: str = ""
    itself: bool = False

    def code(self, supervisor: int) -> str:
        """Return the beginning of the plugin's file, for the supervisor with this pid."""
        where = _ITSELF if self.itself else _ELSEWHERE
        return where.format(pid=supervisor, does=self.does)


LATE = {
    "raises": LateFailure("raise ValueError('half-written')", "half-written"),
    "exits at once": LateFailure("os._exit(0)", "while it is loaded, by os._exit(0)"),
    "raises in the supervisor": LateFailure(
        "raise ValueError('half-written')", "half-written", itself=True
    ),
    "raises SystemExit": LateFailure("raise SystemExit(3)", "must not exit"),
    "crashes": LateFailure("os.kill(os.getpid(), 11)", "killed by SIGSEGV while"),
    "hangs": LateFailure("time.sleep(60)", "start_timeout_seconds"),
    "closes descriptors": LateFailure("os.closerange(3, 256)", "closed descriptors"),
    "takes epoll away": LateFailure("del select.epoll", "select.epoll"),
    "takes a function away": LateFailure("os.fork = None", "os.fork"),
    "leaves a timer": LateFailure(
        "import signal; signal.setitimer(signal.ITIMER_REAL, 0.5)", "ITIMER_REAL"
    ),
    "forbids forks": LateFailure(
        "import sys; sys.addaudithook(lambda event, _: 1 / (event != 'os.fork'))",
        "the host cannot work with what plugins have done: ZeroDivisionError",
    ),
    "takes a module's function away": LateFailure(
        "import heapq; heapq.heappush = None", "it takes away heapq.heappush"
    ),
    "breaks what writes the log": LateFailure(
        "import json; json.dumps = None", "it takes away json.dumps"
    ),
    "ends its forks": LateFailure(
        "os.register_at_fork(after_in_child=lambda: os._exit(3))",
        "the host cannot work with what plugins have done: exit code 3",
    ),
    "goes on in a fork": LateFailure(
        "os.fork() or exit()\n    raise ValueError('half-written')", "half-written"
    ),
    "takes epoll away in the supervisor": LateFailure(
        "del select.epoll", "select.epoll", itself=True
    ),
    "replaces functions in the supervisor": LateFailure(
        "os.fork = os.waitpid = time.monotonic = lambda *_: 1 / 0", "os.fork", itself=True
    ),
    "leaves a timer in the supervisor": LateFailure(
        "import signal; signal.setitimer(signal.ITIMER_REAL, 0.5)", "ITIMER_REAL", itself=True
    ),
}
"""The ways to fail, by what the plugin does."""

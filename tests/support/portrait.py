"""Serves nobody; the supervisor and a worker write down how they are, as a plugin sees it."""

from __future__ import annotations

import builtins
import gc
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from host import Connection, hookimpl


def _disposition(number: int) -> str:
    handler = signal.getsignal(number)
    return getattr(handler, "__qualname__", str(handler))


def portrait() -> dict[str, Any]:
    """Return what must not depend on where a host comes from."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    kinds = [os.readlink(f"/proc/self/fd/{each}").partition(":")[0] for each in (0, 1, 2)]
    main = sys.modules["__main__"]
    environment = dict(os.environ)
    environment.pop("PYTEST_CURRENT_TEST", None)
    return {
        "arguments": [sys.argv, sys.orig_argv],
        "path": sys.path,
        "flags": [str(sys.flags), sys.warnoptions],
        "main": [main.__name__, main.__file__, main.__spec__.name, sorted(vars(main))],
        "environment": sorted(environment.items()),
        "directory": os.getcwd(),
        "ids": [os.getuid(), os.getgid(), sorted(os.getgroups())],
        "masks": [status[each] for each in ("SigBlk", "SigIgn", "SigCgt", "Seccomp", "CapBnd")],
        "dispositions": [_disposition(each) for each in signal.valid_signals()],
        "descriptors": [kinds, len(os.listdir("/proc/self/fd"))],
        "limits": [resource.getrlimit(each) for each in range(16)],
        "umask": status["Umask"],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "collector": [gc.isenabled(), gc.get_threshold()],
        "streams": [[each.encoding, each.line_buffering] for each in (sys.stdout, sys.stderr)],
        "builtins": sorted(vars(builtins)),
        "modules": sorted(each for each in sys.modules if each.partition(".")[0] == "host"),
        "threads": status["Threads"],
    }


class Portrait:
    """Writes `supervisor.json`, and `worker.json` in a worker, into the working directory."""

    @hookimpl
    def on_host_start(self) -> None:
        self._of("supervisor")

    @hookimpl
    def on_worker_start(self) -> None:
        self._of("worker")

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.close()

    def _of(self, who: str) -> None:
        found = portrait() | {"session": os.getsid(0) - os.getpid() if who == "supervisor" else 0}
        Path(f"{who}.json").write_text(json.dumps(found))

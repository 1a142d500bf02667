"""An interpreter that has imported the host and becomes one, by a fork, whenever it is asked to.

Usage: python -W error starter.py, with a Unix socket (SOCK_SEQPACKET) as standard input. Each
request is a JSON object and has one answer:

    {"flags": [...], "cwd": ..., "env": {...}, "alarm": ...}
                  with the descriptors of its output and errors: run a host; the answer is its pid
    {"reap": PID} wait for the end of such a host; the answer is its status (waitpid(2))

Most of the CPU time of a start goes into imports: 0.6 of 0.75 s. A host from here has all that is
its own: arguments, environment, working directory, session, descriptors. Until it is forked no code
of the host has run but what modules do when they are imported, and it begins as `python -m host`
does. It differs from one in an interpreter of its own by this: `/proc/PID/cmdline` is that of this
process, memory is shared with it, and the seed of hashes is that of others from here.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, which a host does not look in

import atexit  # noqa: F401  (as host.__main__ does)
import ctypes
import gc
import io
import json
import os
import runpy
import signal
import socket
from types import ModuleType
from typing import Any

from host.runtime import early_signals, forks, rehearsal, streams  # noqa: F401  (as there)

PR_SET_PDEATHSIG = 1
MOST_BYTES = 200_000


def become(request: dict[str, Any], output: list[int], parent: int) -> None:
    """Have this process, just forked, be one that is about to run `python -m host`."""
    signal.pthread_sigmask(signal.SIG_SETMASK, early_signals.WAITING)
    signal.alarm(request["alarm"])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("starter: the test has gone")
    os.setsid()
    os.chdir(request["cwd"])
    null = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((null, *output)):
        os.dup2(descriptor, number)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = opened(number, getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["flags"]
    sys.orig_argv = [sys.orig_argv[0], "-W", "error", "-m", "host", *request["flags"]]


def opened(number: int, as_before: Any) -> io.TextIOWrapper:
    """Return a standard stream as an interpreter makes it: it knows whether it can seek."""
    unbuffered = as_before.write_through
    buffer = open(number, "wb" if number else "rb", 0 if unbuffered else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        buffer,
        encoding=as_before.encoding,
        errors=as_before.errors,
        newline="\n",
        line_buffering=number == 2 or os.isatty(number),
        write_through=unbuffered,
    )


def is_host(requests: socket.socket) -> bool:
    """Answer requests to the last; return whether this process is a child that is to be a host."""
    ours = os.getpid()
    while True:
        text, descriptors, *_ = socket.recv_fds(requests, MOST_BYTES, 2)
        if not text:
            return False
        request = json.loads(text)
        if "reap" in request:
            answer = os.waitpid(request["reap"], 0)[1]
        else:
            answer = forks.fork()  # else the child would be taken for one that a plugin has forked
            if answer == 0:
                become(request, descriptors, ours)
                return True
            for each in descriptors:
                os.close(each)
        requests.send(json.dumps(answer).encode())


def serve() -> None:
    gc.disable()  # as the host does while it imports
    import host.cli.main  # noqa: PLC0415  (as there)
    import host.startup.launch  # noqa: F401, PLC0415

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup(1)
    requests = socket.socket(fileno=os.dup(0))
    if is_host(requests):
        requests.detach()  # `become` has closed it
        sys.modules["__main__"] = main = ModuleType("__main__")  # without what is here
        if "__annotations__" in globals():  # before Python 3.14
            main.__annotations__ = {}
        runpy._run_module_as_main("host")
    else:
        requests.close()


if __name__ == "__main__":
    serve()

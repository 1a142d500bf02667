"""A protocol that starts processes and leaves them behind, as clients tell it.

Each word but `exit` is answered with the pid of the process that it starts:

- `fork`: a fork of the worker that does nothing;
- `hidden`: a fork of a fork of a fork, in a session of its own, with no descriptor and with the
  name of its command changed; the one in the middle has ended, and its own child is with it;
- `program`: another program, as a daemon is: with nothing of the host's;
- `exit`: the worker ends.
"""

import ctypes
import os
import signal
import subprocess
from contextlib import suppress

from host import hookimpl

NAME = b"evil\n\x1b[31m"
_PR_SET_NAME = 15
_programs = []


def forked(child) -> int:
    """Fork a process that runs `child` and then waits for ever."""
    pid = os.fork()
    if pid:
        return pid
    with suppress(BaseException):
        signal.alarm(60)
        child()
        while True:
            signal.pause()
    os._exit(1)


def hidden() -> int:
    reader, writer = os.pipe()
    between = forked(lambda: middle(writer))
    os.waitpid(between, 0)
    os.close(writer)
    with open(reader) as file:
        return int(file.read())


def middle(writer) -> None:
    os.setsid()
    last = forked(bare)
    os.write(writer, b"%d" % last)
    os._exit(0)


def bare() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_NAME, NAME)
    os.closerange(0, 1_000)
    forked(lambda: None)


def program() -> int:
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    _programs.append(subprocess.Popen(["sleep", "60"], start_new_session=True, **nowhere))
    return _programs[-1].pid


STARTS = {
    b"fork": lambda: forked(lambda: None),
    b"hidden": hidden,
    b"program": program,
    b"exit": lambda: os._exit(3),
}


@hookimpl
def on_readable(connection):
    word = connection.read().strip()
    if word:
        connection.write(b"%d\n" % STARTS[word]())

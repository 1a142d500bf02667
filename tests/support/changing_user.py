"""A plugin that changes the user of its worker, and tells what that gets as its parent dies.

At the word `change` it undoes that once more; at `hang` it answers, and hangs.

Who may not change the user undoes only what a change of user undoes: that the worker dies with its
parent (prctl(2), PR_SET_PDEATHSIG).
"""

import ctypes
import os

from host import hookimpl

NOBODY = 65_534
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
_libc = ctypes.CDLL(None)


def change_user() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    else:
        _libc.prctl(_PR_SET_PDEATHSIG, 0)


def signal_of_death() -> int:
    """Return the signal that this process gets when its parent dies; 0 is none."""
    number = ctypes.c_int()
    _libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(number))
    return number.value


@hookimpl
def on_worker_start(worker):
    change_user()


@hookimpl
def on_readable(connection):
    word = connection.read().strip()
    if word == b"change":
        _libc.prctl(_PR_SET_PDEATHSIG, 0)
    if word:
        connection.write(b"%d\n" % signal_of_death())
        connection.flush()
    while word == b"hang":
        pass

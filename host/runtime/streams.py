"""Standard streams: descriptors 0 to 2 are always open, and a print never ends a process."""

from __future__ import annotations

import fcntl
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # see host/__init__.py
if TYPE_CHECKING:
    from typing import TextIO

_FIRST_OTHER = 3
"""The lowest number that is no standard stream's."""


def fill() -> None:
    """Open /dev/null for each of the descriptors 0 to 2 that is closed.

    Otherwise the next socket would get that number (open(2): the lowest that is free), and what a
    plugin or the interpreter prints would go to a client.
    """
    for descriptor in range(_FIRST_OTHER):
        try:
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def begin() -> None:
    """Open what is closed when the process begins, and give the interpreter its streams.

    Nothing that is printed is refused for its letters, such as those of somebody's name.
    """
    fill()
    # The interpreter has None for each that was closed (sys.__stdout__ in the library reference).
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    # As standard error has it: what the terminal's encoding lacks is written as an escape. Where
    # the locale says nothing the interpreter has a handler of its own that does not fail either.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def lent() -> Iterator[None]:
    """Have what is printed go where it went before, once plugins were loaded.

    They may have put a stream of their own in the place of a standard one, or closed that: which
    is no matter of who has an answer to print.
    """
    before = {"stdout": sys.stdout, "stderr": sys.stderr}
    try:
        yield
    finally:
        for descriptor, (name, stream) in enumerate(before.items(), 1):
            with suppress(Exception):  # it may be anything by now
                getattr(sys, name).flush()
            if stream.closed:  # the interpreter's own leave the descriptor open
                stream = open(  # noqa: PLW2901, SIM115
                    descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False
                )
            setattr(sys, name, stream)


def drop_unusable() -> None:
    """Drop what plugins have put in place of standard streams if it cannot be flushed.

    The interpreter would flush it when it ends, and give another exit code (120, Py_FinalizeEx).
    """
    for name in ("stdout", "stderr"):
        stream, real = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is not None and stream is not real:
            try:
                stream.flush()
            except Exception:  # it may be anything
                setattr(sys, name, real)


def keep(descriptor: int) -> int:
    """Return a duplicate that no number from 0 to 2 has; the caller closes it (fcntl(2)).

    Raises:
        OSError: EMFILE: the process may not have so many descriptors.
    """
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_OTHER)


def move_away(descriptor: int) -> int:
    """Give a descriptor another number than 0 to 2, and /dev/null the one that it had.

    Raises:
        OSError: EMFILE; the descriptor is closed even so.
    """
    try:
        return keep(descriptor)
    finally:
        os.close(descriptor)
        fill()


def flush() -> bool:
    """Write what has been printed if that is taken at once; False if something still waits.

    What is refused for good is dropped: the reader of a pipe has gone, or the disk is full.
    """
    flushed = [_flush(stream) for stream in _streams()]
    return all(flushed)


def forget() -> None:
    """Drop what has been printed and still waits: nobody takes it, or it is the parent's."""
    for stream in _streams():
        with suppress(OSError, ValueError, AttributeError):
            _drop(stream)


def _streams() -> list[TextIO]:
    """Return what is printed to by default, and the real streams if those are others."""
    found = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return list({id(stream): stream for stream in found if stream is not None}.values())


def _flush(stream: TextIO) -> bool:
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        if not poll.poll(0):
            return False
        stream.flush()
    except BlockingIOError:
        return False
    except (ValueError, AttributeError):  # a plugin has closed or replaced it
        return True
    except OSError:
        with suppress(OSError, ValueError):
            _drop(stream)
    return True


def _drop(stream: TextIO) -> None:
    """Have a stream write what waits in it to /dev/null: there is no other way to empty it."""
    descriptor = stream.fileno()
    if descriptor >= _FIRST_OTHER:  # it is a plugin's own, not a standard stream
        return
    kept = keep(descriptor)
    try:
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.dup2(null, descriptor)
            stream.flush()
        finally:
            os.close(null)
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)

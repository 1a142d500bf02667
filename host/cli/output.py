"""Standard output of commands: all that they print is written, or they say that it is not."""

from __future__ import annotations

import io
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EPIPE
from typing import TYPE_CHECKING, NoReturn, TextIO

from host.cli.failing import fail
from host.errors import ExitCode, HostError
from host.runtime import streams

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(HostError, OSError):
    """What a command prints cannot be written.

    It is an OSError as well, as from any other stream: who can do without the output catches that.
    """

    exit_code = ExitCode.OUTPUT

    def __init__(self, error: OSError) -> None:
        OSError.__init__(self, error.errno, error.strerror)

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"cannot write to standard output: {self.strerror}"


class _Waiting(io.FileIO):
    """A descriptor that is waited for where it does not block, as others may have set it.

    O_NONBLOCK is a property of what the descriptor is open for (fcntl(2)), so a pipe or a terminal
    has it from any program that has it, too. Python would drop what does not fit at once.
    """

    def write(self, data: ReadableBuffer) -> int:
        """Write some of it.

        Raises:
            OutputError: it is refused.
        """
        try:
            while (written := super().write(data)) is None:
                poll = select.poll()
                poll.register(self.fileno(), select.POLLOUT)
                poll.poll()
        except OSError as error:
            raise OutputError(error) from None
        return written


@contextmanager
def checked() -> Iterator[None]:
    """Let a command print, and end it with an exit code of its own if that cannot be written."""
    before = sys.stdout
    if before is not sys.__stdout__ or not isinstance(before, io.TextIOWrapper) or before.closed:
        yield
        return
    sys.stdout = _checked(before)
    try:
        yield
        _flush(sys.stdout)
    except SystemExit as end:
        _end(end)
    except OutputError as error:
        refuse(error)


def _checked(stream: TextIO) -> TextIO:
    """Return a stream that writes to the same descriptor; the descriptor stays open."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Waiting(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.isatty(),
    )


def _end(end: SystemExit) -> None:
    """Write what waits before a command ends; its own exit code, if it failed, is the true one."""
    try:
        _flush(sys.stdout)
    except OutputError as error:
        if end.code in (None, 0):
            refuse(error)
        streams.forget()
    raise end


def _flush(stream: TextIO | None) -> None:
    # A host's plugins may have closed or replaced it.
    with suppress(AttributeError, ValueError):
        stream.flush()  # type: ignore[union-attr]


def refuse(error: OutputError) -> NoReturn:
    """End the command; nothing is said if its reader has gone, as of most programs in a pipe."""
    streams.forget()
    if error.errno == EPIPE:
        sys.exit(error.exit_code)
    fail(str(error), error.exit_code)

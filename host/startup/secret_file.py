"""Secrets that settings name a file for."""

from __future__ import annotations

import os
import stat

_MAX_LINE_BYTES = 8_192


def first_line(path: str) -> str:
    """Return the first line of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, no text, or too long; the message has nothing of what is
            in it.
    """
    # Without O_NONBLOCK the host would wait for the process that writes to a FIFO (fifo(7)).
    with open(path, "rb", opener=lambda file, flags: os.open(file, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        line = file.readline(_MAX_LINE_BYTES + 1)
        if len(line) > _MAX_LINE_BYTES:
            raise ValueError(f"it has more than {_MAX_LINE_BYTES} bytes")
        try:
            return line.decode().strip()
        except UnicodeError:
            raise ValueError("it is no text") from None

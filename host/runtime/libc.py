"""Calls of the C library that Python has none for."""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def last_error() -> OSError:
    """Return the error of the call that has just failed (errno(3)), to be raised."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))

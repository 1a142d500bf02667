"""A descriptor from which blocked signals are read (signalfd(2)), which Python has no call for."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Iterable
from contextlib import suppress

from host.runtime.libc import last_error, libc

_BYTES_OF_A_SIGNAL = 128
_BEGINNING = struct.Struct("=IiI")
"""The members ssi_signo, ssi_errno and ssi_code of signalfd_siginfo."""
_FROM_KERNEL = 0x80
"""SI_KERNEL of sigaction(2): no process has sent it."""
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
"""SFD_NONBLOCK and SFD_CLOEXEC have the values of these."""
_BITS_OF_A_WORD = ctypes.sizeof(ctypes.c_ulong) * 8
_Set = ctypes.c_ulong * (1024 // _BITS_OF_A_WORD)


def open_descriptor(numbers: Iterable[signal.Signals]) -> int:
    """Return a descriptor that is readable when one of the signals waits; the caller closes it.

    Raises:
        OSError: EMFILE, ENFILE, ENOMEM.
    """
    chosen = _Set()
    for number in numbers:
        word, bit = divmod(number - 1, _BITS_OF_A_WORD)
        chosen[word] |= 1 << bit
    descriptor: int = libc.signalfd(-1, ctypes.byref(chosen), _FLAGS)
    if descriptor < 0:
        raise last_error()
    return descriptor


def read(descriptor: int) -> set[int]:
    """Take the signals that wait; return the numbers of those that a process has sent."""
    found = set()
    with suppress(BlockingIOError):
        while True:
            data = os.read(descriptor, _BYTES_OF_A_SIGNAL)
            number, _, code = _BEGINNING.unpack_from(data)
            if code != _FROM_KERNEL:
                found.add(number)
    return found

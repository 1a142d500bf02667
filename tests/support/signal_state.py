"""What signals do in this process, kept while a test changes it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from host.runtime.signal_table import SIGNALS

NUMBERS = (*SIGNALS, signal.SIGUSR2, signal.SIGPIPE)


@contextmanager
def kept() -> Iterator[None]:
    """Put back handlers, mask and wake-up descriptor in the end."""
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    descriptor = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

"""Signals that wait are read, and those of a terminal are told from those of a process."""

import os
import signal
import struct

import pytest

from host.runtime import signal_descriptor
from support.signal_state import kept


@pytest.fixture(autouse=True)
def _kept():
    with kept():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTIN, signal.SIGTTOU])
        yield


def test_signals_that_wait_are_taken():
    descriptor = signal_descriptor.open_descriptor([signal.SIGTTOU])
    try:
        assert signal_descriptor.read(descriptor) == set()
        signal.raise_signal(signal.SIGTTIN)
        signal.raise_signal(signal.SIGTTOU)
        assert signal_descriptor.read(descriptor) == {signal.SIGTTOU}
        assert signal.sigpending() == {signal.SIGTTIN}
    finally:
        os.close(descriptor)
        signal.sigwait([signal.SIGTTIN])


@pytest.mark.parametrize(("code", "found"), [(0x80, set()), (0, {22}), (-6, {22})])
def test_a_signal_that_the_kernel_has_sent_is_left_out(code, found):
    reader, writer = os.pipe2(os.O_NONBLOCK)
    try:
        os.write(writer, struct.pack("=Iii116x", 22, 0, code))
        assert signal_descriptor.read(reader) == found
    finally:
        os.close(reader)
        os.close(writer)

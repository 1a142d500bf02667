"""Signals wait while a process starts, and do what they do in any program if it is no host."""

import signal

import pytest

from host.runtime import early_signals
from host.runtime.signal_table import SIGNALS
from support.signal_state import kept


@pytest.fixture(autouse=True)
def _kept():
    with kept():
        yield


def test_all_signals_of_the_table_wait_that_others_send():
    assert {*early_signals.WAITING} == SIGNALS.keys() - {signal.SIGCHLD}


def test_what_has_waited_comes_when_it_is_let():
    came = []
    signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    early_signals.block()
    signal.raise_signal(signal.SIGUSR1)
    assert came == []
    early_signals.unblock()
    assert came == [signal.SIGUSR1]


def test_what_was_blocked_before_comes_too():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
    early_signals.block()
    early_signals.unblock()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()

"""A signal becomes a call on the loop, and afterwards everything is as it was before."""

import signal

import pytest

from host.runtime.signals import Signals


@pytest.fixture
def watch():
    made = []

    def watch(*numbers):
        calls = []
        made.append(Signals(dict.fromkeys(numbers, calls.append)))
        return made[-1], calls

    yield watch
    for signals in reversed(made):
        signals.close()


def test_a_signal_is_handled_when_the_loop_gets_to_it(watch):
    signals, calls = watch(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    assert calls == []
    signals.handle()
    assert calls == [signal.SIGUSR1]
    assert isinstance(calls[0], signal.Signals)
    signals.handle()
    assert calls == [signal.SIGUSR1]


def test_many_of_a_kind_are_one_call(watch):
    signals, calls = watch(signal.SIGUSR1, signal.SIGUSR2)
    for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
        signal.raise_signal(number)
    signals.handle()
    assert calls == [signal.SIGUSR1, signal.SIGUSR2]


def test_a_flood_of_signals_does_no_harm(watch):
    signals, calls = watch(signal.SIGUSR1)
    for _ in range(5000):
        signal.raise_signal(signal.SIGUSR1)
    for _ in range(3):
        signals.handle()
    assert set(calls) == {signal.SIGUSR1}


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGRTMIN + 2])
def test_a_signal_that_somebody_else_handles_stays_theirs(watch, number):
    theirs = []
    previous = signal.signal(number, lambda *args: theirs.append(args[0]))
    try:
        signals, calls = watch(signal.SIGUSR1)
        signal.raise_signal(number)
        signals.handle()
        assert (theirs, calls) == ([number], [])
    finally:
        signal.signal(number, previous)


def test_a_broken_pipe_ends_no_process(watch):
    watch()
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


def test_closing_puts_back_what_was_there():
    mine = lambda *_: None  # noqa: E731
    before = signal.signal(signal.SIGUSR1, mine)
    try:
        Signals({signal.SIGUSR1: lambda _: None}).close()
        assert signal.getsignal(signal.SIGUSR1) is mine
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_handling_without_a_signal_does_nothing(watch):
    signals, calls = watch(signal.SIGUSR1)
    signals.handle(1)
    assert calls == []

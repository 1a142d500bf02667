"""A signal becomes a call on the loop, whatever came before; after the end it changes nothing."""

import os
import signal
from contextlib import ExitStack

import pytest

from host.errors import Interrupted
from host.runtime.signals import Signals
from support.fakes import FakeLoop
from support.signal_state import kept


@pytest.fixture
def made():
    with ExitStack() as stack:
        stack.enter_context(kept())

        def made(*numbers):
            signals = Signals(numbers)
            stack.callback(signals.close)
            return signals

        yield made


@pytest.fixture
def watch(made):
    def watch(*numbers):
        calls = []
        signals = made(*numbers)
        signals.begin(dict.fromkeys(numbers, calls.append), FakeLoop())
        return signals, calls

    return watch


def is_pending(number):
    return number in signal.sigpending()


def test_a_signal_is_handled_when_the_loop_gets_to_it(watch):
    signals, calls = watch(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    assert calls == []
    signals.handle()
    assert calls == [signal.SIGUSR1]
    assert isinstance(calls[0], signal.Signals)
    signals.handle()
    assert calls == [signal.SIGUSR1]


def test_the_loop_watches_for_all_signals(made):
    loop, calls = FakeLoop(), []
    numbers = (signal.SIGUSR1, signal.SIGTTOU)
    made(*numbers).begin(dict.fromkeys(numbers, calls.append), loop)
    for number in numbers:
        signal.raise_signal(number)
    for handler in list(loop.handlers.values()):
        handler(1)
    assert calls == [*numbers]


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


def test_a_flood_of_one_kind_hides_no_other(watch):
    signals, calls = watch(signal.SIGUSR1, signal.SIGUSR2)
    for _ in range(5000):
        signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR2)
    for _ in range(3):
        signals.handle()
    assert calls.count(signal.SIGUSR2) == 1


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


def test_a_signal_that_comes_before_handlers_are_given_is_handled_then(made):
    before = os.listdir("/proc/self/fd")
    signals, calls = made(signal.SIGHUP, signal.SIGUSR1), []
    assert os.listdir("/proc/self/fd") == before  # a plugin that is loaded now may close all
    signal.raise_signal(signal.SIGUSR1)
    numbers = (signal.SIGHUP, signal.SIGUSR1)
    signals.begin(dict.fromkeys(numbers, calls.append), FakeLoop())
    signals.handle()
    assert calls == [signal.SIGUSR1]


def test_what_was_blocked_or_ignored_makes_no_difference(made):
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    calls = []
    signal.raise_signal(signal.SIGUSR1)
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    signals = made(*numbers)
    signals.begin(dict.fromkeys(numbers, calls.append), FakeLoop())
    signal.raise_signal(signal.SIGUSR2)
    signals.handle()
    assert calls == [*numbers]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGTTIN, signal.SIGTTOU}
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL  # it is none of the two


def test_the_hangup_that_nohup_ignores_stays_ignored(watch):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals, calls = watch(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    signals.handle()
    assert calls == []
    assert signals.restore() == []
    signals.close_in_fork()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_what_a_terminal_sends_to_the_background_is_never_delivered(watch):
    signals, calls = watch(signal.SIGTTIN, signal.SIGTTOU)
    for number in (signal.SIGTTOU, signal.SIGTTIN):
        signal.raise_signal(number)
        assert is_pending(number)
    signals.handle()
    assert calls == [signal.SIGTTIN, signal.SIGTTOU]
    assert not is_pending(signal.SIGTTOU)
    signals.handle()
    assert calls == [signal.SIGTTIN, signal.SIGTTOU]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_that_stops_the_host_interrupts_what_may_be_interrupted(made, number):
    signals = made(number)
    with pytest.raises(Interrupted) as raised, signals.interrupting():
        signal.raise_signal(number)
    assert raised.value.cause == number.name
    signal.raise_signal(number)  # afterwards it is noted, as before


def test_a_signal_that_came_before_interrupts_at_once(made):
    signals = made(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted), signals.interrupting():
        pytest.fail("it was not interrupted")


def test_who_swallows_an_interrupt_is_interrupted_in_the_end_and_by_the_next_signal(made):
    signals, swallowed = made(signal.SIGTERM, signal.SIGUSR1), []

    def swallow():
        for number in (signal.SIGTERM, signal.SIGUSR1):
            try:
                signal.raise_signal(number)
            except Interrupted:
                swallowed.append(number)

    with pytest.raises(Interrupted), signals.interrupting():
        swallow()
    assert swallowed == [signal.SIGTERM, signal.SIGUSR1]


def test_other_signals_interrupt_nothing(made):
    signals = made(signal.SIGHUP, signal.SIGUSR1)
    with signals.interrupting():
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGUSR1)


def test_a_handler_that_a_plugin_has_replaced_is_put_back(watch):
    signals, calls = watch(signal.SIGTERM, signal.SIGUSR1)
    assert not signals.replaced
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signals.replaced
    assert signals.restore() == [signal.SIGTERM]
    signal.raise_signal(signal.SIGTERM)
    signals.handle()
    assert calls == [signal.SIGTERM]


def test_what_a_plugin_blocks_comes_again_and_what_never_comes_stays_blocked(watch):
    signals, calls = watch(signal.SIGTERM, signal.SIGUSR1, signal.SIGTTIN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGTERM, signal.SIGCHLD])
    signal.raise_signal(signal.SIGTERM)
    assert signals.restore() == [signal.SIGTERM]
    signals.handle()
    assert calls == [signal.SIGTERM]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGTTIN, signal.SIGCHLD}
    assert signals.restore() == []


def test_what_a_plugin_has_blocked_before_the_host_has_started_comes_again(made):
    signals, calls = made(signal.SIGTERM), []
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.raise_signal(signal.SIGTERM)
    signals.begin({signal.SIGTERM: calls.append}, FakeLoop())
    signals.handle()
    assert calls == [signal.SIGTERM]


def test_after_the_end_signals_wait_for_ever(watch):
    signals, calls = watch(signal.SIGTERM, signal.SIGTTIN)
    signals.close()
    signals.close()
    for number in (signal.SIGTERM, signal.SIGTTIN):
        signal.raise_signal(number)
        assert is_pending(number)
    assert calls == []
    assert signal.set_wakeup_fd(-1) == -1
    for number in (signal.SIGTERM, signal.SIGTTIN):
        signal.sigwait([number])  # or this process would get them


def test_in_a_fork_of_a_plugin_signals_do_what_they_do_in_any_program(watch):
    signals, _ = watch(signal.SIGTERM, signal.SIGINT)
    signals.close_in_fork()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_no_descriptor_is_left(watch):
    before = os.listdir("/proc/self/fd")
    signals, _ = watch(signal.SIGTERM, signal.SIGTTOU)
    assert len(os.listdir("/proc/self/fd")) == len(before) + 3
    signals.close()
    assert os.listdir("/proc/self/fd") == before


def test_handling_without_a_signal_does_nothing(watch):
    signals, calls = watch(signal.SIGUSR1)
    signals.handle(1)
    assert calls == []

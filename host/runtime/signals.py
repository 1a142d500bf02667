"""Signals as events of the loop: a handler only notes that they came, the loop does the work."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import functools
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from host.errors import ExitCode, Interrupted
from host.runtime import forks, signal_descriptor
from host.runtime.descriptors import close_each
from host.runtime.loop import READ, Poller
from host.runtime.signal_table import BLOCKED, SIGNALS

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_PATIENCE_SECONDS = 30.0
"""What service managers and orchestrators grant."""
_LEAST_PATIENCE_SECONDS = 1.0


Handler = Callable[[signal.Signals], object]


# The public function tries to find the handler among the members of an enumeration, which takes
# 3.6 µs; the supervisor asks in every turn.
getsignal: Callable[[int], object] = _signal.getsignal


@contextmanager
def ending(code: int) -> Iterator[None]:
    """Have a signal that stops the process end it at once with this exit code, within.

    For the last words of a process: perhaps nobody ever takes them. A handler alone would not do:
    one whose signal comes just before a write that waits is not called until that returns. So the
    number of the signal is written to a pipe (set_wakeup_fd), which a thread waits for.
    """
    before = {number: signal.signal(number, lambda *_: os._exit(code)) for number in _STOPPING}
    writer = -1
    with suppress(OSError, RuntimeError):  # no descriptor or thread is left: then the handler alone
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        _thread.start_new_thread(_end_at_stop, (reader, code))
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.set_wakeup_fd(-1)
        if writer >= 0:
            os.close(writer)  # which ends the thread
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: it is not Python's


def _end_at_stop(reader: int, code: int) -> None:
    """End the process when the number of a signal that stops it can be read; run in a thread."""
    while numbers := os.read(reader, 1):
        if numbers[0] in _STOPPING:
            os._exit(code)
    os.close(reader)


class Signals:
    """Turns signals into calls on the loop; make it in the main thread, after the fork.

    From now on these signals are noted, whatever was blocked or ignored before. `begin` says what
    to do at them, and opens descriptors, which `close` closes. SIGHUP stays ignored if it is: that
    is what nohup(1) is for. The others of the table do what they do in any program, but for
    `BLOCKED`, which are never delivered. In a child that a plugin forks, all of them do.

    A byte that finds the socket full is lost, which is harmless: the signal was noted all the same,
    and every handler looks at the state of things, not at a count of signals.

    Args:
        numbers: which signals to note.
    """

    def __init__(self, numbers: Collection[signal.Signals] = SIGNALS) -> None:
        self._numbers = [number for number in numbers if self._is_handled(number)]
        self._blocked_numbers = [number for number in numbers if number in BLOCKED]
        self._handlers: Mapping[signal.Signals, Handler] = {}
        self._seen: set[int] = set()
        self._interrupts = False
        self._patience = _PATIENCE_SECONDS
        self._on_cut: Callable[[], object] | None = None
        self._noting = self._note  # one object, to be found again
        # Opened by `begin`: before, plugins are loaded, which may close what they do not know.
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        self._blocked: int | None = None
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            signal.signal(number, self._noting)
        for number in SIGNALS:
            if number not in numbers and number not in BLOCKED:
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)
        forks.close_in_plugin_fork(self.close_in_fork)

    def _note(self, number: int, _frame: object) -> None:
        """Note a signal; the interpreter has already written its number (set_wakeup_fd)."""
        self._seen.add(number)
        if self._interrupts:
            if number in _STOPPING:
                # Not by threading: what is interrupted may hold its locks.
                _thread.start_new_thread(self._end_in_time, ())
            self._interrupt()

    def _end_in_time(self) -> None:
        """End the process if what was interrupted goes on; run in a thread."""
        time.sleep(self._patience)
        if not self._interrupts:
            return
        try:
            if self._on_cut is not None:
                self._on_cut()
        finally:
            os._exit(ExitCode.CUT_SHORT)

    def _interrupt(self) -> None:
        """Raise Interrupted if a signal has come that stops the host."""
        for number in _STOPPING:
            if number in self._seen:
                raise Interrupted(number.name)

    @staticmethod
    def _is_handled(number: signal.Signals) -> bool:
        if number is signal.SIGHUP and getsignal(number) == signal.SIG_IGN:
            return False
        return number not in BLOCKED

    def begin(self, handlers: Mapping[signal.Signals, Handler], loop: Poller) -> None:
        """Have the loop call these from now on, also for signals that have come already.

        Those that a plugin has blocked meanwhile come again.

        Raises:
            OSError: EMFILE, ENFILE, ENOMEM.
        """
        self._handlers = handlers
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self.unblock()
        self._writer.send(bytes(self._seen))
        loop.add(self._reader.fileno(), READ, self.handle)
        if self._blocked_numbers:
            self._blocked = signal_descriptor.open_descriptor(self._blocked_numbers)
            loop.add(self._blocked, READ, self.handle)

    def allow(self, seconds: float, on_cut: Callable[[], object]) -> None:
        """Give what is interrupted so many seconds to end, but one at least.

        Args:
            seconds: how many.
            on_cut: called in a thread before the process ends, if it does not end in time.
        """
        self._patience, self._on_cut = max(seconds, _LEAST_PATIENCE_SECONDS), on_cut

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Have a signal that stops the host interrupt what runs within, since that may take long.

        Use it before `begin`. What goes on even so is cut short, with the whole process, when the
        time is over that `allow` gives.

        Raises:
            Interrupted: such a signal has come, before or meanwhile; also if what has run within
                has caught the exception.
        """
        self._interrupts = True
        try:
            self._interrupt()
            yield
        finally:
            self._interrupts = False
        self._interrupt()

    @property
    def replaced(self) -> bool:
        """Whether a plugin has replaced the handler of SIGTERM: the host could not be stopped."""
        return getsignal(signal.SIGTERM) is not self._noting

    def restore(self) -> list[signal.Signals]:
        """Have signals come again that a plugin has blocked or handles itself; return which."""
        assert self._writer is not None
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        restored = []
        for number in self._numbers:
            if getsignal(number) is not self._noting:
                signal.signal(number, self._noting)
                restored.append(number)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked_numbers)
        blocked = [number for number in self._numbers if number in before]
        if blocked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        return restored + [number for number in blocked if number not in restored]

    def block(self) -> None:
        """Have the signals wait: across an exec there is a time without handlers."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)

    def unblock(self) -> None:
        """Let the signals come, also those that have waited since before an exec."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)

    def handle(self, _mask: int = 0) -> None:
        """Call the handler of each signal that has come, once per kind.

        Each has written its number to wake the loop; but where so many have come that there was no
        room left, only its own handler has noted it. That is looked at last: what is noted after it
        finds room.
        """
        assert self._reader is not None
        numbers = set() if self._blocked is None else signal_descriptor.read(self._blocked)
        with suppress(BlockingIOError):
            numbers.update(self._reader.recv(4096))
        seen, self._seen = self._seen, set()
        numbers.update(seen)
        for number, handler in self._handlers.items():  # others' signals write here, too
            if number in numbers:
                try:
                    handler(number)
                except BaseException:
                    self._seen |= numbers  # to be handled again, if the process goes on
                    raise
                numbers.discard(number)

    def close(self) -> None:
        """Have the signals wait from now on: until a child has its own, or for the process's end.

        A signal that comes after the last turn of the loop must not change the exit code.
        """
        self.block()
        signal.set_wakeup_fd(-1)
        self._close()

    def close_in_fork(self) -> None:
        """Have the signals do what they do in any program, in a child that a plugin has forked."""
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            by_default = number is not signal.SIGINT
            signal.signal(number, signal.SIG_DFL if by_default else signal.default_int_handler)
        self._close()

    def _close(self) -> None:
        for sock in (self._reader, self._writer):
            if sock is not None:
                close_each(sock.close)
        if self._blocked is not None:
            close_each(functools.partial(os.close, self._blocked))
            self._blocked = None

"""The conformance check: what every protocol plugin should do, whatever it speaks."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from host.testing.checks import CHECKS, MAX_KEPT_BYTES, Subject
from host.testing.conversation import Conversation, Exchange, NotConformingError
from host.testing.harness import Options


def check_protocol(
    selection: str | Sequence[str],
    conversation: Conversation | Sequence[Exchange],
    *,
    greeting: bytes | re.Pattern[bytes] = b"",
    farewell: Exchange | None = None,
    unfinished: bytes = b"x",
    max_kept_bytes: int = MAX_KEPT_BYTES,
    options: Options | None = None,
) -> None:
    """Check that a protocol plugin deals well with whatever peers do.

    No sockets are involved and nothing is left to chance: what fails once fails each time.

    Args:
        selection: the plugin, or all the plugins that are needed, as with `--plugin`; the first
            protocol among them is checked.
        conversation: a `Conversation`, or its exchanges alone. It is held many times, also several
            times on one connection, and must have the same replies each time, unless it says that
            it can be held once.
        greeting: that of the conversation, where exchanges are given.
        farewell: likewise.
        unfinished: likewise.
        max_kept_bytes: how much memory a peer may cost who sends 8 MiB of `unfinished`.
        options: options by the name of the plugin.

    Raises:
        AssertionError: with each check that failed, and in what.
        TypeError: greeting, farewell or unfinished are given beside a `Conversation`.
        ValueError: there is no exchange, or a request is empty.
    """
    plugins = (selection,) if isinstance(selection, str) else tuple(selection)
    if not isinstance(conversation, Conversation):
        conversation = Conversation(conversation, greeting, farewell, unfinished)
    elif (greeting, farewell, unfinished) != (b"", None, b"x"):
        raise TypeError("a Conversation has its greeting, farewell and unfinished itself")
    subject = Subject(plugins, conversation, options or {}, max_kept=max_kept_bytes)
    problems = []
    for name, check in CHECKS.items():
        if problem := problem_of(check, subject):
            problems.append(f"{name}: {problem}")
        if problems and name == "whole":
            problems.append("the other checks have no sense before the conversation is right")
            break
    if problems:
        raise AssertionError("\n  ".join([f"{' '.join(plugins)} does not conform:", *problems]))


def problem_of(check: Callable[[Subject], None], subject: Subject) -> str | None:
    """Return what a check has found, or None."""
    try:
        with _limited(subject.most_seconds):
            check(subject)
    except NotConformingError as error:
        return "; ".join([str(error), *getattr(error, "__notes__", ())])
    except Exception as error:
        said = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
        return "; ".join(said)
    return None


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise NotConformingError in what goes on for longer, such as a handler that waits in a loop.

    The timer is that of CPU time (setitimer(2), ITIMER_VIRTUAL): what else the machine does has no
    part in it, and time-outs of tests have the other timer. Python calls handlers of signals in the
    main thread only; in another there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise NotConformingError(f"no end after {seconds:g} s of CPU time: a handler must not wait")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

"""Reports failures of hooks: with plugin, hook and stack, and so many in a time at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from host.errors import Interrupted, PluginError, SlowCallError
from host.hookspecs import OTHERS_HEAR_IT, ROWS
from host.telemetry.emitter import ReportFailure, Telemetry
from host.telemetry.events import CALLBACK_FAILED, HOOK_FAILED
from host.telemetry.tracing import trace_fields
from host.text import in_words, stack_of

BURST = 10
PER_SECONDS = 10.0
"""Of one plugin and hook, the first ten failures of ten seconds are told; the rest are counted."""


class Failure(NamedTuple):
    """One failure: of which plugin, in which hook, the error in words, and its stack.

    The stack of what a plugin refuses in its own words (`PluginError`) is empty.
    """

    plugin: str
    hook: str
    error: str
    traceback: str


def failed_start(failure: Failure) -> PluginError:
    """Return what keeps a plugin from being used whose `on_host_start` has failed."""
    cause = f"hook on_host_start raised {failure.error}"
    if failure.traceback:
        cause += f"\n{failure.traceback}"
    return PluginError(failure.plugin, cause, hook="on_host_start")


class Failures:
    """Emits an event for each failure of a hook; each instance is a `ReportFailure`.

    Attributes:
        last: the last failure that was formatted, or None; a start's always is.
        observers: told of each failure, also of those that are left out of the log.
    """

    def __init__(self, telemetry: Telemetry, clock: Callable[[], float] = time.monotonic) -> None:
        self._telemetry, self._clock = telemetry, clock
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}
        self.last: Failure | None = None
        self.observers: list[ReportFailure] = []

    def __call__(
        self, plugin: str, hook: str, error: BaseException, args: tuple[object, ...]
    ) -> None:
        """Tell of one failure: of which plugin, in which hook, called with what.

        Raises:
            Interrupted: it was none: the host is told to stop.
        """
        if isinstance(error, Interrupted):
            raise error
        self._show(plugin, hook, error, args)
        # Also told of are callbacks, and hooks that a plugin brings.
        consequence = ROWS[hook].consequence if hook in ROWS else OTHERS_HEAR_IT
        told_by_caller = consequence is None
        unsaid = None if told_by_caller else self._unsaid(plugin, hook)
        if unsaid is None and not told_by_caller:
            return  # nothing is formatted that nobody reads: a client may bring this about
        what, stack = in_words(error), stack_of(error)
        if told_by_caller and isinstance(error, PluginError):
            what, stack = f"{error.cause}. {error.hint}" if error.hint else error.cause, ""
        self.last = Failure(plugin, hook, what, stack)
        if consequence is None:
            return
        if isinstance(error, SlowCallError):
            consequence = "nothing else was served meanwhile"
        if unsaid:
            consequence += f" ({unsaid} more like this not logged)"
        subject = args[0] if args and hasattr(args[0], "peer") else None
        self._telemetry.emit(
            HOOK_FAILED,
            plugin=plugin,
            hook=hook,
            error=what,
            consequence=consequence,
            connection=getattr(subject, "id", None),
            peer=getattr(subject, "peer", None),
            **trace_fields(subject),
            traceback=stack,
        )

    def tell_of_callback(
        self, plugin: str, call: str, error: BaseException, connection: object = None
    ) -> None:
        """Tell of a failure of asyncio's callbacks or tasks.

        Args:
            plugin: whose it is.
            call: what has failed, as "task Task-7".
            error: what it has raised.
            connection: the connection that it was for, if it was for one.
        """
        self._show(plugin, call, error, (connection,))
        unsaid = self._unsaid(plugin, "a callback")
        if unsaid is None:
            return
        self._telemetry.emit(
            CALLBACK_FAILED,
            plugin=plugin,
            call=call,
            error=in_words(error),
            connection=getattr(connection, "id", None),
            peer=getattr(connection, "peer", None),
            **trace_fields(connection),
            traceback=stack_of(error) + (f"({unsaid} more not logged)" if unsaid else ""),
        )

    def _show(self, plugin: str, hook: str, error: BaseException, args: tuple[object, ...]) -> None:
        for observe in self.observers:
            observe(plugin, hook, error, args)

    def _unsaid(self, plugin: str, hook: str) -> int | None:
        """Return how many failures were left out before this one; None to leave it out, too."""
        began, count = self._windows.get((plugin, hook), (0.0, 0))
        now, unsaid = self._clock(), 0
        if now - began >= PER_SECONDS:
            began, unsaid, count = now, max(0, count - BURST), 0
        self._windows[plugin, hook] = (began, count + 1)
        return unsaid if count < BURST else None

"""Tells of hooks that failed: named, with their stacks, and not more often than anyone reads."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

from host.errors import SlowCallError
from host.telemetry.emitter import Telemetry
from host.telemetry.events import HOOK_FAILED

BURST = 10
PER_SECONDS = 10.0
"""Of one plugin and hook, the first ten failures of ten seconds are told; the rest are counted."""

TOLD_BY_THE_CALLER = frozenset({"on_host_start", "on_worker_start"})
"""Whoever gives up because of these says so, with the failure as the reason."""

CONSEQUENCES = {
    "on_accept": "the connection is closed",
    "on_readable": "the connection is closed",
    "on_drain": "the connection is closed at the deadline",
    "choose_worker": "the next scheduler is asked",
}


class Failure(NamedTuple):
    """One failure: of which plugin, in which hook, the error in words, and its stack."""

    plugin: str
    hook: str
    error: str
    traceback: str


class Failures:
    """Emits an event for each failure of a hook; each instance is a `ReportFailure`.

    Attributes:
        last: the last failure that was formatted, or None; a start's always is.
    """

    def __init__(self, telemetry: Telemetry, clock: Callable[[], float] = time.monotonic) -> None:
        self._telemetry, self._clock = telemetry, clock
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}
        self.last: Failure | None = None

    def __call__(
        self, plugin: str, hook: str, error: BaseException, args: tuple[object, ...]
    ) -> None:
        """Tell of one failure: of which plugin, in which hook, called with what."""
        told_by_caller = hook in TOLD_BY_THE_CALLER
        unsaid = None if told_by_caller else self._unsaid(plugin, hook)
        if unsaid is None and not told_by_caller:
            return  # nothing is formatted that nobody reads: a client may bring this about
        what = "".join(traceback.format_exception_only(error)).strip().replace("\n", "; ")
        stack = "".join(traceback.format_exception(error))
        self.last = Failure(plugin, hook, what, stack)
        if told_by_caller:
            return
        consequence = CONSEQUENCES.get(hook, "the others still hear it")
        if isinstance(error, SlowCallError):
            consequence = "nothing else was served meanwhile"
        if unsaid:
            consequence += f" ({unsaid} more like this were not logged)"
        subject = args[0] if args and hasattr(args[0], "peer") else None
        self._telemetry.emit(
            HOOK_FAILED,
            plugin=plugin,
            hook=hook,
            error=what,
            consequence=consequence,
            connection=getattr(subject, "id", None),
            peer=getattr(subject, "peer", None),
            traceback=stack,
        )

    def _unsaid(self, plugin: str, hook: str) -> int | None:
        """Return how many failures were left out before this one; None to leave it out, too."""
        began, count = self._windows.get((plugin, hook), (0.0, 0))
        now, unsaid = self._clock(), 0
        if now - began >= PER_SECONDS:
            began, unsaid, count = now, max(0, count - BURST), 0
        self._windows[plugin, hook] = (began, count + 1)
        return unsaid if count < BURST else None

"""Writes down how each connection ends, and calls that were slow: the last events of a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from host.hookspecs import ROWS
from host.interfaces import CloseReason
from host.ipc.recent import REASONS, Kind, RecentWriter
from host.metrics.hooks import SlowCalls
from host.plugin.binding import Implementation
from host.plugin.circuit_breaker import CircuitBreaker
from host.profiling.recorder import ANYONE, Recorder
from host.settings import Breaker

_CLOSED, _NUMBERS = int(Kind.CLOSED), {reason: number for number, reason in enumerate(REASONS)}


def noting_ends(
    on_end: Callable[[Any, CloseReason], None], note: Callable[..., None], listener: int
) -> Callable[[Any, CloseReason], None]:
    """Return what writes down the end of a listener's connection, then calls `on_end`."""

    def ended(connection: Any, reason: CloseReason) -> None:
        note(_CLOSED, connection.serial, listener, _NUMBERS[reason])
        on_end(connection, reason)

    return ended


def slow_calls(
    policy: Breaker, recent: RecentWriter, breaker: CircuitBreaker, recorder: Recorder | None
) -> SlowCalls:
    """Return what writes down each call that was measured and was slow, by whomever, once.

    Args:
        policy: says what is slow.
        recent: where it is written; that of the breaker are written as failures.
        breaker: what measures all calls of the hooks that it guards.
        recorder: what measures all calls, if anything does, those of callbacks among them.
    """

    def is_guarded(each: Implementation) -> bool:
        guarded = each.hook in ROWS and ROWS[each.hook].guarded
        return guarded and breaker.circuit(each.plugin) is not None

    def note(plugin: str, hook: str) -> None:
        recent.note_slow("" if plugin == ANYONE else plugin, hook)

    seconds = policy.slow_call_ms / 1000
    if recorder is not None:
        recorder.slow_seconds, recorder.on_slow = seconds, note
    return SlowCalls(seconds, note, lambda each: recorder is not None or is_guarded(each))

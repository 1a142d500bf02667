"""The circuit breaker: a plugin that keeps failing in this process is left out for a while.

The rules of this file
    It does no I/O and is given the clock. The caller of a plugin asks the plugin's circuit before
    each call and tells it afterwards how the call went; what comes out is whether to call, and
    events.

Theory of operation
    Every plugin has one circuit, for all of its hooks that are guarded, unless it is exempt.

    closed      The plugin is called. When `max_failures` failures lie within `window_seconds`, the
                circuit opens.
    open        The plugin is passed over, for `open_seconds`.
    half-open   One call at a time is let through. A failure opens the circuit again at once. A
                success closes it if the call was of the hook that failed last.

    A failure is an exception, or a call that took longer than `slow_call_ms`. A success of another
    hook says nothing: a plugin that fails in `on_accept` only would else be let in again by its
    `on_close`, to cost `max_failures` connections each time instead of one.

    Time alone makes an open circuit half-open, so nothing is emitted then and nobody is called.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from host import settings
from host.errors import SlowCallError
from host.runtime.forks import exit_if_plugin_fork
from host.telemetry.emitter import ReportFailure, Telemetry
from host.telemetry.events import PLUGIN_CALLED_AGAIN, PLUGIN_LEFT_OUT


class CircuitBreaker:
    """The circuits of one process: of a worker, or of the supervisor.

    Args:
        policy: what the settings say.
        exempt: the names of the plugins that are called whatever happens: the protocols.
        telemetry: where suspensions are told.
        clock: the monotonic clock.

    Attributes:
        on_change: called without arguments when a circuit has opened or closed; it must not raise.
    """

    def __init__(
        self,
        policy: settings.Breaker,
        exempt: Collection[str],
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy, self._exempt = policy, frozenset(exempt)
        self._telemetry, self._clock = telemetry, clock
        self._circuits: dict[str, Circuit] = {}
        self.on_change: Callable[[], object] = lambda: None

    def circuit(self, plugin: str) -> Circuit | None:
        """Return the plugin's circuit, the same one each time; None if it is exempt."""
        if plugin in self._exempt:
            return None
        if plugin not in self._circuits:
            self._circuits[plugin] = Circuit(
                plugin, self._policy, self._telemetry, self._clock, self._changed
            )
        return self._circuits[plugin]

    def guard(
        self, plugin: str, hook: str, function: Callable[..., Any], report: ReportFailure
    ) -> Callable[..., Any]:
        """Return what to call in the function's place; the function itself if there is no circuit.

        It answers None while the plugin is left out. Exceptions are counted and pass through.

        Args:
            plugin: the plugin's name.
            hook: the hook's name.
            function: the plugin's function.
            report: told of a call that took too long; its answer counts all the same.
        """
        circuit = self.circuit(plugin)
        return function if circuit is None else circuit.guard(hook, function, report)

    def guard_wrapper(
        self, plugin: str, hook: str, function: Callable[..., Any], report: ReportFailure
    ) -> Callable[..., Any]:
        """Return what to call in the place of a wrapper; see `guard`.

        While the plugin is left out the inner call is made without it. The time that the inner
        call takes is not the wrapper's.

        Args:
            plugin: the plugin's name.
            hook: the hook's name.
            function: the wrapper; its first argument makes the inner call and returns its result.
            report: told of a call that took too long; its answer counts all the same.
        """
        circuit = self.circuit(plugin)
        return function if circuit is None else circuit.guard_wrapper(hook, function, report)

    def state(self) -> list[dict[str, Any]]:
        """Return a dict for each circuit that is not closed.

        Its keys are `plugin`, `state` ("open" or "half-open"), `failures` (those that opened it,
        and trials since), `hook` (the one that failed last) and `seconds_left` until it is
        half-open.
        """
        return [state for circuit in self._circuits.values() if (state := circuit.state())]

    def _changed(self) -> None:
        self.on_change()


class Circuit:
    """One plugin's circuit: for each call `begin_call`, then `end_call` or `record_failure`."""

    __slots__ = (
        "_changed",
        "_clock",
        "_count",
        "_hook",
        "_open_seconds",
        "_plugin",
        "_recent",
        "_slow_seconds",
        "_telemetry",
        "_trial",
        "_until",
        "_window_seconds",
    )

    def __init__(
        self,
        plugin: str,
        policy: settings.Breaker,
        telemetry: Telemetry,
        clock: Callable[[], float],
        changed: Callable[[], object],
    ) -> None:
        self._plugin, self._telemetry = plugin, telemetry
        self._clock, self._changed = clock, changed
        self._open_seconds, self._window_seconds = policy.open_seconds, policy.window_seconds
        self._slow_seconds = policy.slow_call_ms / 1000
        self._recent: deque[float] = deque(maxlen=policy.max_failures)
        self._until: float | None = None  # None is closed; else it is open until then
        self._trial: float | None = None  # when the call began that is let through, half-open
        self._count, self._hook = 0, ""

    def begin_call(self) -> float | None:
        """Return when the call begins, for `end_call`; None if the plugin is to be passed over."""
        now = self._clock()
        if self._until is None:
            return now
        if now < self._until:
            return None
        # A trial that never ends (its generator is lost) must not keep the plugin out for ever.
        self._until = now + self._open_seconds
        self._trial = now
        return now

    def end_call(self, hook: str, began: float, paused: float = 0.0) -> SlowCallError | None:
        """Take note of a call that raised nothing; return what to report if it was too slow.

        Args:
            hook: the hook's name.
            began: what `begin_call` returned.
            paused: the seconds since then in which others were called: a wrapper waits for them.
        """
        now = self._clock()
        took = now - began - paused
        if took > self._slow_seconds:
            self.record_failure(hook)
            return SlowCallError(took, self._slow_seconds)
        if began == self._trial:
            self._trial = None
            if hook == self._hook:
                self._until = None
                self._telemetry.emit(PLUGIN_CALLED_AGAIN, plugin=self._plugin)
                self._changed()
            else:
                self._until = now
        return None

    def record_failure(self, hook: str) -> None:
        """Take note of a failure, which the caller has to report."""
        now, recent = self._clock(), self._recent
        if self._until is None:
            recent.append(now)
            if len(recent) < (recent.maxlen or 0) or now - recent[0] >= self._window_seconds:
                return
            self._count = len(recent)
            recent.clear()
        elif self._trial is None:
            return  # a call that began before the circuit opened
        else:
            self._count += 1
            self._trial = None
        self._until, self._hook = now + self._open_seconds, hook
        self._telemetry.emit(
            PLUGIN_LEFT_OUT,
            plugin=self._plugin,
            hook=hook,
            count=self._count,
            seconds=self._open_seconds,
        )
        self._changed()

    def guard(
        self, hook: str, function: Callable[..., Any], report: ReportFailure
    ) -> Callable[..., Any]:
        """Return what to call in the function's place; see `CircuitBreaker.guard`."""
        clock, allowed = self._clock, self._slow_seconds

        def guarded(*args: object) -> Any:
            began = clock() if self._until is None else self.begin_call()
            if began is None:
                return None
            try:
                answer = function(*args)
            except BaseException:
                self.record_failure(hook)
                raise
            finally:
                exit_if_plugin_fork()
            # There is nothing to note of a quick call while the circuit is closed.
            if self._until is None and clock() - began <= allowed:
                return answer
            slow = self.end_call(hook, began)
            if slow is not None:
                report(self._plugin, hook, slow, args)
            return answer

        return guarded

    def guard_wrapper(
        self, hook: str, function: Callable[..., Any], report: ReportFailure
    ) -> Callable[..., Any]:
        """Return what to call in the wrapper's place; see `CircuitBreaker.guard_wrapper`."""
        clock = self._clock

        def guarded(inner: Callable[[], object], *args: object) -> Any:
            began = self.begin_call()
            if began is None:
                return inner()
            paused = 0.0

            def timed_inner() -> object:
                nonlocal paused
                left = clock()
                result = inner()
                paused = clock() - left
                return result

            try:
                answer = function(timed_inner, *args)
            except BaseException:
                self.record_failure(hook)
                raise
            finally:
                exit_if_plugin_fork()
            slow = self.end_call(hook, began, paused)
            if slow is not None:
                report(self._plugin, hook, slow, args)
            return answer

        return guarded

    def state(self) -> dict[str, Any] | None:
        """Return the circuit's state, as in `CircuitBreaker.state`; None if it is closed."""
        if self._until is None:
            return None
        left = 0.0 if self._trial is not None else max(0.0, self._until - self._clock())
        return {
            "plugin": self._plugin,
            "state": "open" if left else "half-open",
            "failures": self._count,
            "hook": self._hook,
            "seconds_left": round(left, 1),
        }

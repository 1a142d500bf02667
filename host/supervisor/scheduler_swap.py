"""Puts another scheduler in the place of the one that chooses, while the host runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from host.dispatch.dispatcher import Scheduler
from host.errors import LimitsError
from host.hookspecs import on_host_start
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.failures import Failures, failed_start
from host.plugin.interference import Keeping, leaves_process_alone
from host.plugin.registry import Registry
from host.runtime import forks
from host.runtime.steps import Steps
from host.settings import Settings
from host.supervisor.dependencies import Dependencies, Starters, view_of
from host.supervisor.generations import Generations
from host.supervisor.measuring import Measuring
from host.telemetry.emitter import ReportFailure
from host.text import reason


class SchedulerSwap:
    """Loads schedulers into a running host, and tells them that it has started.

    What one counts is in memory of its own, with a row for the supervisor alone: that of the
    generation was laid out before anybody knew of it.

    Args:
        settings: those of the host.
        dependencies: what loads plugins.
        failures: told of each failure of a hook.
        breaker: what leaves out a scheduler that keeps failing.
        generations: that which serves has its connections handed out.
        show_anew: called when there is something else to be shown of plugins.
        note: told of the registry of a scheduler that is asked from now on.
    """

    def __init__(
        self,
        settings: Settings,
        dependencies: Dependencies,
        failures: Failures,
        breaker: CircuitBreaker,
        generations: Generations,
        show_anew: Callable[[], object],
        note: Callable[[Registry], object],
    ) -> None:
        self._settings, self._given = settings, dependencies
        self._failures, self._breaker = failures, breaker
        self._generations, self._show_anew, self._note = generations, show_anew, note
        self._observers: list[ReportFailure] = []

    def load(self, plugin: str) -> Steps[Sequence[tuple[str, Scheduler]]]:
        """Load a scheduler plugin, in steps; return who is asked from then on.

        Raises:
            PluginError: it cannot be loaded, is none, or its `on_host_start` has failed.
            LimitsError: there is no memory for what it counts.
        """
        registry = yield from self._given.load_scheduler(plugin)
        return self._begin(plugin, registry)

    def _begin(self, plugin: str, registry: Registry) -> Sequence[tuple[str, Scheduler]]:
        serving = self._generations.serving
        addresses = [each.address for each in serving.listeners]
        measuring = Measuring(self._settings, registry, addresses, serving.series)
        hooks = registry.host_hooks(self._failures, breaker=self._breaker, timed=measuring.timed)
        hook = functools.partial(registry.hook, timed=measuring.timed_for_workers(None))
        view = view_of(
            self._settings, serving.listeners, hook, self._given.telemetry, measuring.metrics
        )
        keeping = Keeping((), self._given.keeping().do_essentials)
        try:
            with leaves_process_alone(Starters.of(registry), keeping):
                fine = hooks.tell(on_host_start, view)
        finally:
            forks.exit_if_plugin_fork()
        if not fine:
            assert self._failures.last is not None  # see `Failures.last`
            raise failed_start(self._failures.last)
        try:
            measuring.begin(for_workers=False)
        except OSError as error:
            cause = f"there is no memory for what plugin {plugin} counts: {reason(error)}"
            raise LimitsError(cause) from error
        self._observe(measuring)
        self._note(registry)
        if self._generations.swap_series(measuring.own):
            self._show_anew()
        return hooks.schedulers

    def _observe(self, measuring: Measuring) -> None:
        """Count the failures of this scheduler, and no more those of the one before."""
        observers = self._failures.observers
        for each in self._observers:
            observers.remove(each)
        self._observers = measuring.observers()
        observers += self._observers

"""Measures the hooks of a worker now and then, at no cost for the calls that are not measured.

`on_readable` and `on_datagram` are called for each message, so nothing is put around them: in some
turns of the loop, all their calls are replaced by measured ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from host.ipc.assignment import Assignment
from host.metrics.hooks import HookFailures, HookTimes
from host.plugin.binding import Implementation, ListenerHooks, Timed
from host.plugin.failures import Failures
from host.plugin.registry import SERVING_HOOKS, Registry
from host.runtime import forks
from host.settings import Settings
from host.worker.context import ListenerContext
from host.worker.counting import counting_turns
from host.worker.datagrams import DatagramContext

Bind = Callable[..., ListenerHooks]


class Measuring:
    """Counts what a worker's plugins do, in the worker's row, if the host is shown (`ops.listen`).

    Args:
        assignment: what the worker was given; what plugins count goes to its row in any case.
        settings: the settings of the host.
        registry: the plugins.
        failures: told of each failure of a hook.
        timed: what measures all hooks besides, if anything does.
    """

    def __init__(
        self,
        assignment: Assignment,
        settings: Settings,
        registry: Registry,
        failures: Failures,
        timed: Timed | None,
    ) -> None:
        self._row, self._given = assignment.row, timed
        self._times: HookTimes | None = None
        series = assignment.series
        series.use(assignment.row.number + 1)
        forks.close_in_plugin_fork(series.leave)
        if settings.ops.listen:
            failures.count = HookFailures(series, registry.owners)
            self._times = HookTimes(series, settings.metrics.sample)

    @property
    def timed(self) -> Timed | None:
        """What measures the hooks that are bound with it; None if nothing does."""
        return self._given if self._times is None else self._now_and_then

    def _now_and_then(self, each: Implementation) -> Callable[..., Any]:
        """Measure some calls; those of hooks that serve are measured by turns."""
        assert self._times is not None  # see `timed`
        each = self._measured_besides(each)
        if each.hook in SERVING_HOOKS and not self._times.measures_all:
            return each.function
        return self._times.sampled(each)

    def _always(self, each: Implementation) -> Callable[..., Any]:
        assert self._times is not None  # see `end_of_turn`
        return self._times.timed(self._measured_besides(each))

    def _measured_besides(self, each: Implementation) -> Implementation:
        return each._replace(function=self._given(each)) if self._given else each

    def end_of_turn(
        self,
        end: Callable[[], object],
        bind: Bind,
        streams: Iterable[ListenerContext],
        datagrams: Iterable[DatagramContext],
    ) -> Callable[[], object]:
        """Return what ends a turn of the loop by `end`, and counts how long it has taken.

        Args:
            end: ends a turn.
            bind: binds the hooks of a protocol plugin, with `timed`.
            streams: what the connections of each listener share.
            datagrams: what the datagrams of each listener share.
        """
        if self._times is None:
            return end
        swaps: list[_Swap] = []
        if not self._times.measures_all:
            hooks = _Bound(bind, self._always)
            swaps += (_Swap(each, "on_readable", hooks.of(each).on_readable) for each in streams)
            swaps += (_Swap(each, "on_datagram", hooks.of(each).on_datagram) for each in datagrams)
        return counting_turns(end, self._row, _Sample(swaps, self._times.gap).change)


class _Bound:
    """The measured hooks of protocol plugins, each bound once."""

    def __init__(self, bind: Bind, timed: Timed) -> None:
        self._bind, self._timed = bind, timed
        self._hooks: dict[str, ListenerHooks] = {}

    def of(self, context: ListenerContext | DatagramContext) -> ListenerHooks:
        plugin = context.listener.plugin
        if plugin not in self._hooks:
            self._hooks[plugin] = self._bind(plugin, timed=self._timed)
        return self._hooks[plugin]


class _Sample:
    """Says in which turns everything is measured."""

    def __init__(self, swaps: Iterable[_Swap], gap: Callable[[], int]) -> None:
        self._swaps, self._gap = tuple(swaps), gap
        self._measures = False

    def change(self) -> int:
        """Begin to measure, or end it, between two turns; return after how many to do it again."""
        for swap in self._swaps:
            swap()
        self._measures = not self._measures
        return 1 if self._measures else self._gap()


class _Swap:
    """Exchanges an attribute of what connections share for another value, and back."""

    def __init__(self, context: object, name: str, other: object) -> None:
        self._context, self._name, self._other = context, name, other

    def __call__(self) -> None:
        other, self._other = self._other, getattr(self._context, self._name)
        setattr(self._context, self._name, other)

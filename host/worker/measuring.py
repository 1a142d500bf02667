"""Measures the hooks of a worker now and then, at no cost for the calls that are not measured.

`on_readable` and `on_datagram` are called for each message, so nothing is put around them: in some
turns of the loop, all their calls are replaced by measured ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from host.ipc.assignment import Assignment
from host.metrics.hooks import NONE_SLOW, HookFailures, HookTimes, SlowCalls
from host.plugin.binding import Implementation, ListenerHooks, Timed
from host.plugin.failures import Failures
from host.plugin.registry import SERVING_HOOKS, Registry
from host.runtime import forks
from host.settings import Settings
from host.worker.context import ListenerContext
from host.worker.counting import counting_turns

if TYPE_CHECKING:  # only hosts with UDP listeners import it
    from host.worker.datagrams import DatagramContext

Bind = Callable[..., ListenerHooks]


class Measuring:
    """Counts what a worker's plugins do, in the worker's row, if the host is shown (`ops.listen`).

    Args:
        assignment: what the worker was given; what plugins count goes to its row in any case.
        settings: the settings of the host.
        registry: the plugins.
        failures: told of each failure of a hook.
        timed: what measures all hooks besides, if anything does; it notes slow calls itself.
        slow: what is done about slow calls among those that are measured.
        note_slow_turn: told of a turn as long as a slow call: what was called last in it.
    """

    def __init__(
        self,
        assignment: Assignment,
        settings: Settings,
        registry: Registry,
        failures: Failures,
        timed: Timed | None,
        slow: SlowCalls = NONE_SLOW,
        note_slow_turn: Callable[[int], object] = bool,
    ) -> None:
        self._row, self._given = assignment.row, timed
        self._times: HookTimes | None = None
        self._slow = settings.breaker.slow_call_ms / 1000, note_slow_turn
        series = assignment.series
        series.use(assignment.row.number + 1)
        forks.close_in_plugin_fork(series.leave)
        if settings.ops.listen:
            failures.observers.append(HookFailures(series, registry.owners))
            self._times = HookTimes(series, settings.metrics.sample, slow=slow)

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
        streams: Sequence[ListenerContext],
        datagrams: Sequence[DatagramContext],
    ) -> Callable[[], object]:
        """Return what ends a turn of the loop by `end`, and counts how long it has taken.

        Args:
            end: ends a turn.
            bind: binds the hooks of a protocol plugin, with `timed`.
            streams: what the connections of each listener share; more may be added later.
            datagrams: what the datagrams of each listener share.
        """
        if self._times is None:
            return end
        sample = _Sample(streams, datagrams, self._times.gap)
        if not self._times.measures_all:
            plugins = {each.listener.plugin for each in streams}
            for plugin in plugins | {each.listener.plugin for each in datagrams}:
                sample.measure(plugin, bind(plugin, timed=self._always))
        return counting_turns(end, self._row, sample.change, *self._slow)


_Others = dict[Callable[[Any], object], Callable[[Any], object]]


def _pair(
    others: _Others, plain: Callable[[Any], object], measured: Callable[[Any], object]
) -> None:
    others[plain], others[measured] = measured, plain


class _Sample:
    """Says in which turns everything is measured.

    Args:
        streams: what the connections of each listener share; others may be added, which are copies
            of these with another TLS.
        datagrams: the same of datagrams.
        gap: returns how many turns there are up to the next that is measured.
    """

    def __init__(
        self,
        streams: Sequence[ListenerContext],
        datagrams: Sequence[DatagramContext],
        gap: Callable[[], int],
    ) -> None:
        self._streams, self._datagrams, self._gap = streams, datagrams, gap
        self._measures = False
        # What stands for each function: a measured one for the plugin's own, and back.
        self._of_streams: _Others = {}
        self._of_datagrams: _Others = {}

    def measure(self, plugin: str, hooks: ListenerHooks) -> None:
        """Have the functions of one plugin exchanged for the measured `hooks`."""
        for stream in (each for each in self._streams if each.listener.plugin == plugin):
            _pair(self._of_streams, stream.on_readable, hooks.on_readable)
        for datagram in (each for each in self._datagrams if each.listener.plugin == plugin):
            assert hooks.on_datagram is not None
            _pair(self._of_datagrams, datagram.on_datagram, hooks.on_datagram)

    def change(self) -> int:
        """Begin to measure, or end it, between two turns; return after how many to do it again."""
        unmeasured = self._gap() - 1 if self._measures else 0
        if self._measures and not unmeasured:
            return 1  # the next turn is measured, too
        for stream in self._streams:
            on_readable = stream.on_readable
            stream.on_readable = self._of_streams.get(on_readable, on_readable)
        for datagram in self._datagrams:
            on_datagram = datagram.on_datagram
            datagram.on_datagram = self._of_datagrams.get(on_datagram, on_datagram)
        self._measures = not self._measures
        return 1 if self._measures else unmeasured

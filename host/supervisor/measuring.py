"""What the supervisor counts of its plugins, and what it lets them declare to count themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from host.ipc.scoreboard import MAX_ROWS
from host.ipc.series import OwnSeries
from host.metrics.declaring import DeclaredMetrics, telling_who
from host.metrics.hooks import HookFailures, HookTimes, lay_out
from host.plugin.binding import Implementation, Timed
from host.plugin.registry import Registry
from host.settings import Settings
from host.telemetry.emitter import ReportFailure


class Measuring:
    """Lays out what a generation counts of plugins, and measures the hooks of the supervisor.

    Args:
        settings: the settings; hooks are measured if the host is shown (`ops.listen`).
        registry: the plugins.
        addresses: those of the listeners.
        running: where a running host counts already, into which a scheduler is swapped.

    Attributes:
        own: where this process counts, and each worker that is forked from it.
        metrics: what plugins declare; it is to be closed before the first worker is forked.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        addresses: Iterable[str],
        running: OwnSeries | None = None,
    ) -> None:
        self.own = OwnSeries()
        self._times: HookTimes | None = None
        self._owners = registry.owners
        if settings.ops.listen:
            lay_out(self.own, registry, dict.fromkeys(addresses), running)
            self._times = HookTimes(self.own, settings.metrics.sample)
        self.metrics = DeclaredMetrics(
            self.own,
            is_shown=bool(settings.ops.listen),
            running=running.families if running else (),
        )

    def timed(self, each: Implementation) -> Callable[..., Any]:
        """Return what to call in the place of a function of the supervisor's hooks."""
        each = each._replace(function=telling_who(each))
        return self._times.sampled(each) if self._times else each.function

    def timed_for_workers(self, timed: Timed | None) -> Timed | None:
        """Return what measures hooks that plugins bring and workers call.

        Args:
            timed: what measures them, too, if anything does.
        """
        if self._times is None or timed is None:
            return self._times.sampled if self._times else timed
        sampled, measured = self._times.sampled, timed
        return lambda each: sampled(each._replace(function=measured(each)))

    def observers(self) -> list[ReportFailure]:
        """Return what counts failures, if anybody asks."""
        return [HookFailures(self.own, self._owners)] if self._times else []

    def begin(self, *, for_workers: bool = True) -> None:
        """Let no more be declared, and count in shared memory from now on.

        Args:
            for_workers: whether workers count there, too.

        Raises:
            OSError: there is no memory left.
        """
        self.metrics.is_closed = True
        self.own.share(MAX_ROWS + 1 if for_workers else 1)

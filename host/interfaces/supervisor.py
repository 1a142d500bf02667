"""What plugins see in the supervisor: the host that starts, and workers to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, overload

from host.interfaces.metrics import Metrics
from host.interfaces.values import Listener


class WorkerView(Protocol):
    """A worker as a scheduler sees it: read-only, and live (each look reads the scoreboard)."""

    @property
    def slot(self) -> int:
        """Stable number, 0 … workers-1; a replacement takes it over."""

    @property
    def pid(self) -> int:
        """Process id."""

    @property
    def generation(self) -> int:
        """How many reloads came before this worker."""

    @property
    def active(self) -> int:
        """Connections open now."""

    @property
    def outstanding(self) -> int:
        """Notifications sent and not yet claimed."""

    @property
    def accepted(self) -> int:
        """Connections accepted so far in this slot, over all its workers."""

    @property
    def loop_lag_seconds(self) -> float:
        """How long the worker's present (or, while it waits, its last) loop turn has taken."""


class Host(Protocol):
    """The host as `on_host_start` sees it: bound, nothing forked yet.

    A plugin may keep it, also for its workers.
    """

    @property
    def name(self) -> str:
        """The host's name from the settings."""

    @property
    def pid(self) -> int:
        """The supervisor's process id."""

    @property
    def workers(self) -> int:
        """How many workers will be started."""

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The bound listeners."""

    @property
    def metrics(self) -> Metrics:
        """Declares what this plugin counts, while `on_host_start` runs."""

    def stop(self, reason: str) -> None:
        """Have the host stop as on SIGTERM, from the supervisor or from a worker.

        Connections are drained; `reason` is in the log.
        """

    @overload
    def hook(self, name: str, plugins: Sequence[str]) -> Callable[..., Any]: ...
    @overload
    def hook(
        self, name: str, plugins: Sequence[str], arguments: Sequence[str]
    ) -> Callable[..., Any] | None: ...
    def hook(
        self, name: str, plugins: Sequence[str], arguments: Sequence[str] | None = None
    ) -> Callable[..., Any] | None:
        """Bind a hook that this plugin brings (its `hookspecs`), for this plugin to call.

        The arguments are given by position. If the specification says `firstresult`, the first
        answer other than None ends the call. An exception passes through to the caller: in
        `on_readable` it ends the connection, and the plugin that raised it is named.

        Args:
            name: the hook's name.
            plugins: the plugins whose implementations are called, in this order.
            arguments: the names of the arguments that it will be called with, if these are not
                all: an implementation need not take what it does not use.

        Returns:
            What to call. None if an implementation takes more than `arguments`, or is wrapped.

        Raises:
            PluginError: one of them is not selected, or does not implement the hook.
        """

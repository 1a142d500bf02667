"""A harness: plugins loaded, told and called as the host does it, without sockets."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import host.settings as host_settings
from host.hookspecs import on_host_start, on_worker_start, on_worker_stop
from host.interfaces import CloseReason, Listener, ProxyHeader, TlsInfo
from host.ipc.series import OwnSeries
from host.metrics.declaring import DeclaredMetrics, PluginMetrics, telling_who
from host.plugin.binding import HostHooks
from host.plugin.loading import load
from host.plugin.registry import Registry
from host.settings import Settings
from host.testing.bus import MemoryBus
from host.testing.connection import FakeConnection
from host.testing.datagram import DEFAULT_SENDER, datagram_context, send
from host.testing.loop import FakeLoop
from host.testing.metrics import read_series
from host.testing.origins import Address, origin_of
from host.testing.proxy_header import Version
from host.testing.worker import Failure, FakeWorker
from host.text import listed
from host.worker.datagrams import DatagramContext
from host.worker.timeouts import Timeouts

Options = Mapping[str, Mapping[str, object]]
"""Options by the name of the plugin, as the sections `[options.NAME]`."""


@dataclass(frozen=True, slots=True)
class FakeHost:
    """What `on_host_start` is told."""

    name: str
    pid: int
    workers: int
    listeners: tuple[Listener, ...]
    hook: Callable[..., Any]
    stop_reasons: list[str]
    declared: DeclaredMetrics
    plugin: str = ""

    def of(self, plugin: str) -> FakeHost:
        """Return what one plugin is told."""
        return replace(self, plugin=plugin)

    @property
    def metrics(self) -> PluginMetrics:
        """Declares the metrics of the plugin."""
        return self.declared.of(self.plugin)

    def stop(self, reason: str) -> None:
        """Note that a plugin stops the host."""
        self.stop_reasons.append(reason)


@dataclass(frozen=True, slots=True)
class _Member:
    """A worker of the harness with the plugins that run in it."""

    worker: FakeWorker
    registry: Registry
    hooks: HostHooks
    listeners: tuple[Listener, ...]


class Harness:
    """Plugins as a host would run them, with fake workers and connections.

    Every protocol that is selected gets a listener. Each worker has plugin objects of its own, as
    after a fork; but what a module keeps in global variables they share here.

    What a plugin raises is raised again by the call that made it happen (`feed`, `connect`, …),
    once all consequences are dealt with.

    Args:
        plugins: what is selected, as with `--plugin`.
        options: options by the name of the plugin.
        settings: any other settings by their dotted names, as with `--set`.
        workers: how many workers there are.
        raises: whether what plugins raise is raised again; else it is only kept in `failures`.

    Attributes:
        bus: what connects the workers.
        loop: the loop of all workers.
        settings: the validated settings.
        stop_reasons: why plugins have asked the host to stop; the harness goes on.

    Raises:
        PluginError, SettingsError: as the host would refuse the same.
    """

    def __init__(
        self,
        *plugins: str,
        options: Options | None = None,
        settings: Mapping[str, object] | None = None,
        workers: int = 1,
        raises: bool = True,
    ) -> None:
        flags: dict[str, tuple[object, str]] = {
            "plugins": (list(plugins), "plugins"),
            "workers": (workers, "workers"),
        }
        if options:
            # In one piece: the name of a plugin may have dots in it.
            sections = {name: _plain(section) for name, section in options.items()}
            flags["options"] = (sections, "options")
        for key, value in (settings or {}).items():
            flags[key] = (_plain(value), key)
        loaded = host_settings.load(flags=flags, environ={})
        self.settings: Settings = loaded.settings
        self.bus, self.loop = MemoryBus(), FakeLoop()
        self._members: list[_Member] = []
        self.stop_reasons: list[str] = []
        self._datagrams: dict[tuple[int, str], DatagramContext] = {}
        self._started = False
        self._series: list[OwnSeries] = []
        for slot in range(workers):
            worker = FakeWorker(slot, bus=self.bus, loop=self.loop, raises=raises)
            worker.pool_settings = self.settings.pools
            registry = load(loaded)
            listeners = tuple(
                Listener(index, f"tcp://127.0.0.1:{7000 + index}", name)
                for index, name in enumerate(registry.protocols)
            )
            worker.listeners_of = functools.partial(_listeners_of, registry, listeners)
            hooks = registry.host_hooks(worker.report, timed=telling_who)
            self._members.append(_Member(worker, registry, hooks, listeners))
            self._series.append(OwnSeries())
            self._watch_time_limits(worker)
        for each in self._series:
            each.others = self._series

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop()

    @property
    def workers(self) -> list[FakeWorker]:
        """The workers, by slot; without those that were killed."""
        return [member.worker for member in self._members]

    @property
    def failures(self) -> list[Failure]:
        """What plugins have raised so far."""
        return [failure for worker in self.workers for failure in worker.failures]

    def plugin(self, name: str, worker: int = 0) -> object:
        """Return the plugin object of the worker in a slot."""
        plugins = self._member(worker).registry.plugins
        return next(plugin.object for plugin in plugins if plugin.name == name)

    def _member(self, slot: int) -> _Member:
        for member in self._members:
            if member.worker.slot == slot:
                return member
        slots = listed([str(member.worker.slot) for member in self._members])
        raise ValueError(f"there is no worker in slot {slot}; there are some in {slots or 'none'}")

    def start(self) -> None:
        """Tell the plugins that the host starts, and each worker; harmless if it was done."""
        if self._started:
            return
        self._started = True
        for member, series in zip(self._members, self._series, strict=True):
            declared = DeclaredMetrics(series)
            host = FakeHost(
                self.settings.name,
                os.getpid(),
                self.settings.workers,
                member.listeners,
                member.registry.hook,
                self.stop_reasons,
                declared,
            )
            member.hooks.tell(on_host_start, host)
            declared.is_closed = True
            member.worker.raise_failures()
        for member in self._members:
            member.hooks.tell(on_worker_start, member.worker)
            member.worker.raise_failures()
        self.run()

    def metrics(self) -> dict[str, float]:
        """Return what plugins have counted so far, in all workers, also in those that were killed.

        The keys are the series as `/metrics` shows them, without the slot, such as
        `prefork_chat_messages_total` and `prefork_line_lines_total{kind="ok"}`. A histogram has
        several, which end with `_bucket`, `_sum` and `_count`.
        """
        return read_series(self._series)

    def connect(
        self,
        worker: int = 0,
        *,
        protocol: str | None = None,
        address: Address = ("127.0.0.1", 50_211),
        tls: bool | TlsInfo = False,
        proxy: Version | ProxyHeader | None = None,
    ) -> FakeConnection:
        """Return a new connection, accepted and told of.

        Args:
            worker: the slot of the worker that has accepted it.
            protocol: the plugin that serves it; by default the protocol selected first.
            address: the client's address; a text for a Unix socket; or all that is known of the
                client.
            tls: whether it has come over TLS, or what was agreed on with it.
            proxy: the version of the PROXY protocol in which a proxy has named this client, or all
                that the proxy has said.
        """
        self.start()
        member = self._member(worker)
        name = self._protocol(member, protocol, "on_readable")
        (listener,) = (each for each in member.listeners if each.plugin == name)
        context = member.worker.context(
            listener,
            member.registry.bind(name, member.worker.report),
            self.settings.connection,
        )
        connection = FakeConnection(
            worker=member.worker, address=origin_of(address, tls, proxy), context=context
        )
        connection.begin()
        self.run()
        return connection

    def datagram(
        self,
        data: bytes,
        worker: int = 0,
        *,
        protocol: str | None = None,
        address: tuple[str, int] = DEFAULT_SENDER,
        reply_factor: float = 3.0,
    ) -> list[bytes]:
        """Have a datagram arrive; return the replies, to which those are added that come later.

        Args:
            data: its bytes.
            worker: the slot of the worker that reads it.
            protocol: the plugin that answers it; by default the first one that answers datagrams.
            address: its sender.
            reply_factor: as the setting of the listener; what the first call for a plugin and a
                worker says holds for all.
        """
        self.start()
        member = self._member(worker)
        name = self._protocol(member, protocol, "on_datagram")
        context = self._datagrams.get((worker, name))
        if context is None:
            (found,) = (each for each in member.listeners if each.plugin == name)
            listener = replace(found, address=found.address.replace("tcp:", "udp:"))
            hooks = member.registry.bind(name, member.worker.report)
            context = datagram_context(member.worker, listener, reply_factor, hooks)
            self._datagrams[worker, name] = context
        replies = send(context, data, address)
        self.run()
        return replies

    def _protocol(self, member: _Member, name: str | None, hook: str) -> str:
        """Return the name of the plugin that serves a connection or answers a datagram."""
        fitting = member.registry.serving(hook)
        return member.registry.protocol(name or (fitting[0] if fitting else ""), hook).name

    def run(self) -> None:
        """Run all workers until nothing is left to be done now."""
        self.loop.run()
        self._raise_failures()

    def advance(self, seconds: float) -> None:
        """Let time pass, for timers and the host's own time-outs."""
        self.loop.advance(seconds)
        self._raise_failures()

    def drain(self, seconds: float = 30.0) -> None:
        """Tell every connection that its worker goes away; cut what is left after `seconds`."""
        deadline = self.loop.now + seconds
        self.loop.call_at(deadline, self._cut)
        for worker in self.workers:
            for connection in worker.connections:
                connection.drain(deadline)
        self.run()

    def kill(self, worker: int) -> None:
        """Let a worker die as if by SIGKILL: no hook is told, others hear of it on the bus."""
        member = self._member(worker)
        self._members.remove(member)
        member.worker.dead = True
        self.loop.rests.remove(member.worker.rest)
        for connection in member.worker.connections:
            self.loop.detach(connection.fileno())
        self.bus.leave(member.worker.pid)
        self.run()

    def stop(self) -> None:
        """Drain, cut what is left at the deadline, and tell each worker that it ends."""
        if not self._started:
            return
        self._started = False
        self.drain(self.settings.lifecycle.drain_timeout_seconds)
        self._cut()
        self.run()
        for member in self._members:
            member.hooks.tell(on_worker_stop, member.worker)
            member.worker.close_asyncio()
            member.worker.raise_failures()

    def _raise_failures(self) -> None:
        for worker in self.workers:
            worker.raise_failures()

    def _cut(self) -> None:
        for worker in self.workers:
            for connection in worker.connections:
                connection.cut(CloseReason.DEADLINE)

    def _watch_time_limits(self, worker: FakeWorker) -> None:
        timeouts = Timeouts(
            self.loop,
            worker.open_connections,
            idle_timeout=self.settings.limits.idle_timeout_seconds,
            write_timeout=self.settings.connection.write_timeout_seconds,
        )

        def arm() -> bool:
            timeouts.arm()
            return False

        self.loop.rests.append(arm)


def _listeners_of(
    registry: Registry, listeners: Sequence[Listener], plugin: object
) -> list[Listener]:
    """Return the listeners that a plugin object serves."""
    names = {each.name for each in registry.plugins if each.object is plugin}
    return [each for each in listeners if each.plugin in names]


def _plain(value: object) -> object:
    """Return a value as a TOML file could have it."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value

"""The registry: the loaded plugins, and who of them hears which hook."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from host.errors import PluginError
from host.hookspecs import ROWS, TABLE, Audience, Process
from host.plugin import binding, isolation
from host.plugin.binding import (
    HOOKS,
    HostHooks,
    Implementation,
    ListenerHooks,
    Manager,
    Tell,
    Timed,
)
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.ordering import Order
from host.settings import nearest
from host.telemetry.emitter import ReportFailure
from host.text import listed, suggest

_KINDS = {None: "a listener", "on_readable": "a listener", "on_datagram": "a UDP listener"}
SERVING_HOOKS = frozenset({"on_readable", "on_datagram"})
"""The hooks by which a plugin serves a listener."""


@dataclass(frozen=True, slots=True, eq=False)
class Plugin:
    """One loaded plugin.

    Attributes:
        name: the name it goes by in settings, messages and `Listener.plugin`.
        selected: the text that selected it.
        origin: distribution, version and entry point, or the file or module it came from.
        object: the module, or the instance of the class.
        options_model: the model that its section of the settings was checked with, or None.
        options: the validated options it was constructed with, or None.
        hooks: the hooks it implements, in the order of the specifications.
        serves: the hooks by which it can serve a listener, `on_readable` and `on_datagram`; a
            wrapper around others can serve none.
        is_scheduler: whether it chooses workers.
    """

    name: str
    selected: str
    origin: str
    object: object
    options_model: type | None
    options: Any
    hooks: tuple[str, ...]
    serves: frozenset[str]
    is_scheduler: bool

    @property
    def is_protocol(self) -> bool:
        """Whether it can serve a listener."""
        return bool(self.serves)


@dataclass(frozen=True, slots=True, eq=False)
class Registry:
    """The loaded plugins; nothing can be added any more.

    Attributes:
        plugins: in the order of selection, default plugins last.
        manager: pluggy's manager, in which the implementations are registered.
        calls: the implementations of each hook, in the order in which they are called.
        brought: the hook specifications that plugins bring.
        order: what the plugins declare of it.
    """

    plugins: tuple[Plugin, ...]
    manager: Manager
    calls: Mapping[str, tuple[Implementation, ...]]
    brought: tuple[object, ...]
    order: Order

    @property
    def protocols(self) -> tuple[str, ...]:
        """The names of the plugins that can serve a listener."""
        return tuple(plugin.name for plugin in self.plugins if plugin.is_protocol)

    @property
    def options(self) -> dict[str, object]:
        """The validated options of each plugin that takes any, by its name."""
        return {each.name: each.options for each in self.plugins if each.options is not None}

    @property
    def in_workers(self) -> tuple[str, ...]:
        """The names of the plugins that are called in workers."""
        ours = {row.name for row in TABLE if row.process is Process.SUPERVISOR}
        return tuple(plugin.name for plugin in self.plugins if not ours.issuperset(plugin.hooks))

    @property
    def never_left_out(self) -> tuple[str, ...]:
        """The names of the plugins that somebody's connections depend on: never left out."""
        answering = {
            each.plugin
            for hook, implementations in self.calls.items()
            if hook not in HOOKS
            for each in implementations
        }
        return tuple(
            plugin.name for plugin in self.plugins if plugin.is_protocol or plugin.name in answering
        )

    @property
    def owners(self) -> dict[str, str]:
        """The plugin of each module and package that is one plugin's alone, by their names.

        A package is, if it is the one around a plugin's module and no other plugin's is in it.
        """
        modules = [(_module(plugin.object), plugin.name) for plugin in self.plugins]
        owners = {}
        for module, name in modules:
            for place in (module, module.rpartition(".")[0]):
                inside = {each for other, each in modules if f"{other}.".startswith(f"{place}.")}
                if place and inside == {name}:
                    owners[place] = name
        return owners

    def serving(self, hook: str) -> tuple[str, ...]:
        """Return the names of the plugins that can serve a listener by `hook`."""
        return tuple(plugin.name for plugin in self.plugins if hook in plugin.serves)

    def protocol(self, name: str, hook: str | None = None, place: str = "a listener") -> Plugin:
        """Return the protocol plugin that is called `name`, or was selected by that text.

        Args:
            name: the name or text.
            hook: the hook by which it is to serve a listener; None for any.
            place: what names it.

        Raises:
            PluginError: if there is none.
        """
        fitting = self.serving(hook) if hook else self.protocols
        for plugin in self.plugins:
            if name in (plugin.name, plugin.selected):
                if plugin.name in fitting:
                    return plugin
                missing, kind = hook or "on_readable", _KINDS[hook]
                raise PluginError(
                    plugin.name,
                    f"it cannot serve {kind}, since it does not implement {missing}"
                    f"\nprotocols: {listed(fitting) or 'none is selected'}",
                    hook=missing,
                    origin=plugin.origin,
                )
        near = nearest(name, fitting)
        raise PluginError(
            name,
            f'{place} is to be served by "{name}", which is not selected{suggest(near)}'
            f"\nprotocols: {listed(fitting) or 'none is selected'}",
            hint=None if near else f"Select it: --plugin {name}",
        )

    def heard(self, hook: str, plugin: str) -> list[Implementation]:
        """Return who hears a hook of a listener's connections, in order.

        Without declarations, wrappers come first, then the listener's own plugin.

        Args:
            hook: the hook's name.
            plugin: the name of the protocol plugin that serves the listener.
        """
        foreign = set(self.protocols) - {plugin}
        heard = [each for each in self.calls[hook] if each.plugin not in foreign]
        wrappers = [each for each in heard if each.wrapper]
        own = [each for each in heard if not each.wrapper and each.plugin == plugin]
        others = [each for each in heard if not each.wrapper and each.plugin != plugin]
        if ROWS[hook].audience is not Audience.LISTENER:
            others = []
        return self.order.arranged([*wrappers, *own, *others])

    def bind(
        self,
        listener_plugin: str,
        report: ReportFailure,
        *,
        breaker: CircuitBreaker | None = None,
        timed: Timed | None = None,
    ) -> ListenerHooks:
        """Bind the hooks of a listener's connections.

        Args:
            listener_plugin: the name of the protocol plugin that serves it.
            report: told of every failure but those of the hooks that serve; see `ListenerHooks`.
            breaker: what leaves out, for a while, who keeps failing in the hooks that are guarded.
            timed: what measures the functions that are bound; without it they are the plugins' own.
        """
        name = self.protocol(listener_plugin).name
        readable = self.heard("on_readable", name)
        datagram = self.heard("on_datagram", name)
        brought = [self.calls[hook] for hook in self.calls if hook not in HOOKS]
        culprits = [*readable, *datagram, *itertools.chain.from_iterable(brought)]

        def tell(hook: str) -> Tell:
            heard = binding.measured(self.heard(hook, name), timed)
            return isolation.isolated(hook, heard, report, breaker if ROWS[hook].guarded else None)

        return ListenerHooks(
            on_accept=tell("on_accept"),
            on_readable=binding.bound(binding.measured(readable, timed)),
            on_close=tell("on_close"),
            on_drain=tell("on_drain"),
            on_tls=tell("on_tls"),
            on_datagram=binding.bound(binding.measured(datagram, timed)) if datagram else None,
            blame=functools.partial(binding.blame, implementations=culprits, otherwise=name),
        )

    def hook(
        self,
        name: str,
        plugins: Sequence[str],
        arguments: Sequence[str] | None = None,
        *,
        timed: Timed | None = None,
    ) -> Callable[..., Any] | None:
        """Bind a hook that a plugin brings, for the plugin to call.

        Wrappers of any plugin are around the call. An exception passes through: inside
        `on_readable` it ends the connection, and the plugin that raised it is named.

        Args:
            name: the hook's name.
            plugins: whose implementations are called, in this order.
            arguments: what it is called with; all that is specified if it is not given.
            timed: see `bind`.

        Returns:
            None if somebody is to be called who takes more than these arguments, or a wrapper is.

        Raises:
            PluginError: one of them is not selected, or does not implement the hook.
        """
        namespace = next((each for each in self.brought if name in binding.specified(each)), None)
        if namespace is None:
            raise LookupError(f"no plugin brings a hook named {name}")
        plain = {each.plugin: each for each in self.calls[name] if not each.wrapper}
        for plugin in plugins:
            if plugin not in plain:
                known = {each.name: each for each in self.plugins}
                cause = f"it does not implement {name}" if plugin in known else "it is not selected"
                near = nearest(plugin, plain)
                raise PluginError(
                    plugin,
                    f"{cause}{suggest(near)}\nplugins that do: {listed(plain) or 'none'}",
                    hook=name,
                    origin=known[plugin].origin if plugin in known else None,
                )
        wrappers = [each for each in self.calls[name] if each.wrapper]
        first: bool = getattr(namespace, name).host_spec["firstresult"]
        chosen = [*wrappers, *(plain[plugin] for plugin in plugins)]
        if arguments is not None:
            if any(each.wrapper or not set(each.arguments) <= {*arguments} for each in chosen):
                return None
            chosen = [each._replace(expected=tuple(arguments)) for each in chosen]
        return binding.bound(binding.measured(chosen, timed), namespace=namespace, first=first)

    def host_hooks(
        self,
        report: ReportFailure,
        *,
        breaker: CircuitBreaker | None = None,
        timed: Timed | None = None,
    ) -> HostHooks:
        """Bind the hooks that belong to no listener.

        Args:
            report: told of every failure; see `HostHooks`.
            breaker: what leaves out, for a while, who keeps failing in the hooks that are guarded.
            timed: see `bind`.
        """
        bound, heard_by_any = {}, set()
        for row in TABLE:
            if row.audience is Audience.EVERY:
                heard = binding.measured(self.calls[row.name], timed)
                guard = breaker if row.guarded else None
                bound[row.specification] = isolation.isolated(row.name, heard, report, guard)
                if heard:
                    heard_by_any.add(row.specification)
        schedulers = binding.measured(self.calls["choose_worker"], timed)
        asked = isolation.schedulers(schedulers, report, breaker)
        return HostHooks(bound, frozenset(heard_by_any), asked)


def _module(subject: object) -> str:
    """Return the name of the module that a plugin is, or that its class is defined in."""
    return subject.__name__ if isinstance(subject, ModuleType) else type(subject).__module__

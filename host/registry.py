"""Loads, checks and freezes the selected plugins, and binds hooks to those who hear them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from pydantic import BaseModel

from host import calls
from host.calls import HOOKS, HostHooks, Implementation, ListenerHooks, Manager, Report
from host.errors import PluginError
from host.inspection import implementations, plugin_class, unheard
from host.sources import Importer, Source, failed, find, installed, listed, shorten, suggest
from settings import Loaded, Problem, SettingsError, nearest, validate_options

DEFAULTS = ("round_robin",)
"""Plugins that are loaded unless `no:NAME` leaves them out; they come last."""


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
        is_protocol: whether it can serve a listener; a wrapper around others cannot.
        is_scheduler: whether it chooses workers.
    """

    name: str
    selected: str
    origin: str
    object: object
    options_model: type[BaseModel] | None
    options: BaseModel | None
    hooks: tuple[str, ...]
    is_protocol: bool
    is_scheduler: bool


class PluginErrors(PluginError):
    """Several things are wrong with the plugins; `errors` has each of them.

    The attributes of `PluginError` are those of the first.
    """

    def __init__(self, errors: Sequence[PluginError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(
            first.plugin,
            first.cause,
            hook=first.hook,
            origin=first.origin,
            where=first.where,
            hint=first.hint,
        )

    def __str__(self) -> str:
        lines: list[str] = []
        last_head = None
        for error in self.errors:
            head, *rest = str(error).splitlines()
            lines.extend(rest if head == last_head else [head, *rest])
            last_head = head
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class Registry:
    """The loaded plugins; nothing can be added any more.

    Attributes:
        plugins: in the order of selection, default plugins last.
        manager: pluggy's manager, in which the implementations are registered.
        calls: the implementations of each hook, in the order in which pluggy calls them.
    """

    plugins: tuple[Plugin, ...]
    manager: Manager
    calls: Mapping[str, tuple[Implementation, ...]]

    @property
    def protocols(self) -> tuple[str, ...]:
        """The names of the plugins that can serve a listener."""
        return tuple(plugin.name for plugin in self.plugins if plugin.is_protocol)

    def protocol(self, name: str) -> Plugin:
        """Return the protocol plugin that is called `name`, or was selected by that text.

        Raises:
            PluginError: if there is none.
        """
        for plugin in self.plugins:
            if name in (plugin.name, plugin.selected):
                if plugin.is_protocol:
                    return plugin
                raise PluginError(
                    plugin.name,
                    "it cannot serve a listener, since it does not implement on_readable"
                    f"\nprotocols: {listed(self.protocols) or 'none is selected'}",
                    hook="on_readable",
                    origin=plugin.origin,
                )
        near = nearest(name, self.protocols)
        raise PluginError(
            name,
            f'a listener is to be served by "{name}", which is not selected{suggest(near)}'
            f"\nprotocols: {listed(self.protocols) or 'none is selected'}",
            hint=None if near else f"Select it: --plugin {name}",
        )

    def bind(self, listener_plugin: str, report: Report) -> ListenerHooks:
        """Bind the hooks of a listener's connections.

        Args:
            listener_plugin: the name of the protocol plugin that serves it.
            report: told of every failure but those of `on_readable`; see `ListenerHooks`.
        """
        name = self.protocol(listener_plugin).name
        readable = self._audience("on_readable", name, alone=True)
        return ListenerHooks(
            on_accept=calls.tell("on_accept", self._audience("on_accept", name), report),
            on_readable=calls.bound(readable),
            on_close=calls.tell("on_close", self._audience("on_close", name), report),
            on_drain=calls.tell("on_drain", self._audience("on_drain", name, alone=True), report),
            blame=functools.partial(calls.blame, implementations=readable, otherwise=name),
        )

    def host_hooks(self, report: Report) -> HostHooks:
        """Bind the hooks that belong to no listener."""
        return HostHooks(
            on_host_start=calls.tell("on_host_start", self.calls["on_host_start"], report),
            on_worker_start=calls.tell("on_worker_start", self.calls["on_worker_start"], report),
            on_worker_stop=calls.tell("on_worker_stop", self.calls["on_worker_stop"], report),
            on_child_exit=calls.tell("on_child_exit", self.calls["on_child_exit"], report),
            schedulers=calls.schedulers(self.calls["choose_worker"], report),
        )

    def _audience(self, hook: str, name: str, *, alone: bool = False) -> list[Implementation]:
        """Return who hears a hook of a listener: wrappers, its own plugin, then the others."""
        foreign = set(self.protocols) - {name}
        heard = [each for each in self.calls[hook] if each.plugin not in foreign]
        wrappers = [each for each in heard if each.wrapper]
        own = [each for each in heard if not each.wrapper and each.plugin == name]
        others = [each for each in heard if not each.wrapper and each.plugin != name]
        return [*wrappers, *own, *([] if alone else others)]


def load(loaded: Loaded) -> Registry:
    """Load the plugins that the settings select; imports those and no others.

    Raises:
        PluginError: if a plugin cannot be used; `PluginErrors` if there is more to say.
        SettingsError: if options are wrong.
    """
    importer = Importer()
    try:
        return _load(loaded, importer)
    except BaseException:
        importer.undo()
        raise


def selection(plugins: Iterable[str]) -> tuple[str, ...]:
    """Return what is to be loaded, in order: what `plugins` selects, then the defaults.

    Raises:
        PluginError: if `no:NAME` leaves out what is no default, or is selected as well.
    """
    plugins = tuple(plugins)
    chosen = tuple(text for text in plugins if not text.startswith("no:"))
    left_out = {text.removeprefix("no:") for text in plugins if text.startswith("no:")}
    for name in sorted(left_out):
        if name not in DEFAULTS:
            cause = f'"no:{name}" leaves out a default plugin, but that is none'
            raise PluginError(
                name,
                f"{cause}{suggest(nearest(name, DEFAULTS))}\ndefaults: {listed(DEFAULTS)}",
                hint="A plugin that is no default is left out by not selecting it.",
            )
        if name in chosen:
            raise PluginError(name, f'it is selected, and left out by "no:{name}" as well')
    defaults = tuple(name for name in DEFAULTS if name not in left_out and name not in chosen)
    return chosen + defaults


def _load(loaded: Loaded, importer: Importer) -> Registry:
    plugins: list[Plugin] = []
    found: list[Implementation] = []
    wrong: list[PluginError] = []
    problems: list[SettingsError] = []
    for source, text in _sources(loaded, wrong, problems):
        try:
            plugin, members = _plugin(source, text, loaded, importer)
        except PluginErrors as error:
            wrong.extend(error.errors)
        except PluginError as error:
            wrong.append(error)
        except SettingsError as error:
            problems.append(error)
        else:
            plugins.append(plugin)
            found.extend(members)
    if wrong:
        raise wrong[0] if len(wrong) == 1 else PluginErrors(wrong)
    if problems:
        raise problems[0] if len(problems) == 1 else _joined(problems)
    return _register(plugins, found)


def _sources(
    loaded: Loaded, wrong: list[PluginError], problems: list[SettingsError]
) -> list[tuple[Source, str]]:
    """Find what is selected, and add to the lists what is wrong with the selection."""
    entries = installed()
    found: dict[str, tuple[Source, str]] = {}
    try:
        texts = selection(loaded.settings.plugins)
    except PluginError as error:
        wrong.append(error)
        return []
    for text in texts:
        try:
            source = find(text, entries)
        except PluginError as error:
            wrong.append(error)
            continue
        if source.name in found:
            other = found[source.name][0]
            cause = f"two plugins would have this name: {other.origin}; {source.origin}"
            wrong.append(PluginError(source.name, cause))
        else:
            found[source.name] = (source, text)
    names = {*found, *(error.plugin for error in wrong)}
    unselected = [name for name in loaded.settings.options if name not in names]
    if unselected:
        message = "no plugin of this name is selected"
        problems.append(
            SettingsError(
                _problem(loaded, name, message + suggest(nearest(name, names)))
                for name in unselected
            )
        )
    return list(found.values())


def _problem(loaded: Loaded, name: str, message: str) -> Problem:
    key = f"options.{name}"
    inside = (origin for at, origin in loaded.origins.items() if f"{at}.".startswith(f"{key}."))
    origin = next(inside, None)
    return Problem(key, "", message, f"from {origin}" if origin else "")


def _joined(errors: Iterable[SettingsError]) -> SettingsError:
    return SettingsError(
        dataclasses.replace(problem, message=f"{problem.message} ({error.subject})")
        if error.subject != "settings"
        else problem
        for error in errors
        for problem in error.problems
    )


def _plugin(
    source: Source, text: str, loaded: Loaded, importer: Importer
) -> tuple[Plugin, tuple[Implementation, ...]]:
    """Import, construct and check one plugin."""
    target = importer.load(source)
    if isinstance(target, ModuleType):
        target = plugin_class(source, target) or target
    model = _options_model(source, target)
    if model is None and source.name in loaded.settings.options:
        message = "the plugin takes no options: it has no pydantic model named Options"
        raise SettingsError([_problem(loaded, source.name, message)])
    options = validate_options(source.name, model, loaded) if model else None
    instance = _construct(source, target, options) if inspect.isclass(target) else target
    members, wrong = implementations(source, instance)
    if wrong := wrong or unheard(source, members):
        raise PluginErrors(wrong)
    implemented = {each.hook for each in members}
    plain = {each.hook for each in members if not each.wrapper}
    plugin = Plugin(
        source.name,
        text,
        source.origin,
        instance,
        model,
        options,
        hooks=tuple(hook for hook in HOOKS if hook in implemented),
        is_protocol="on_readable" in plain,
        is_scheduler="choose_worker" in plain,
    )
    return plugin, members


def _options_model(source: Source, target: object) -> type[BaseModel] | None:
    """Return the model in the class, or beside the class in its module."""
    if isinstance(target, ModuleType):
        if _is_model(vars(target).get("Options")):
            raise PluginError(
                source.name,
                "it has an Options model, but a module cannot be handed options",
                origin=source.origin,
                where=shorten(target.__file__ or target.__name__),
                hint="Move the hooks into a class: it is constructed with the options.",
            )
        return None
    if not inspect.isclass(target):
        raise PluginError(
            source.name,
            f"a plugin is a module or a class, and this is neither (it is: "
            f"{type(target).__name__})",
            origin=source.origin,
        )
    nested = inspect.getattr_static(target, "Options", None)
    if nested is not None and not _is_model(nested):
        cause = f"{target.__name__}.Options is not a pydantic model"
        raise PluginError(source.name, cause, origin=source.origin)
    found = nested or vars(sys.modules[target.__module__]).get("Options")
    return found if _is_model(found) else None


def _is_model(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseModel)


def _construct(source: Source, target: type, options: BaseModel | None) -> object:
    try:
        return target() if options is None else target(options)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        given = "with its validated options" if options else "without arguments, having no Options"
        what = f"{target.__name__}, called {given}, failed"
        raise failed(source, error, what, subject=target) from error


def _register(plugins: list[Plugin], found: list[Implementation]) -> Registry:
    manager = Manager()
    # Pluggy calls the last one registered first.
    for plugin in reversed(plugins):
        members = [each for each in found if each.plugin == plugin.name]
        try:
            manager.register(calls.Holder(members), name=plugin.name)
        except Exception as error:
            cause = f"pluggy refuses it: {error}"
            raise PluginError(plugin.name, cause, origin=plugin.origin) from error
    # One function may serve two hooks, or two plugins: its identity alone says too little.
    known = {(each.plugin, each.hook, id(each.function)): each for each in found}
    order = {
        hook: tuple(
            known[each.plugin_name, hook, id(each.function)]
            for each in reversed(getattr(manager.hook, hook).get_hookimpls())
        )
        for hook in HOOKS
    }
    return Registry(tuple(plugins), manager, order)

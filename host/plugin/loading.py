"""Loads the selected plugins: imports, constructs and checks them, all problems at once."""

from __future__ import annotations

import inspect
import itertools
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from host.errors import PluginError
from host.plugin import binding
from host.plugin.binding import HOOKS, Implementation, Manager, specified
from host.plugin.building import Built, build, section_problem
from host.plugin.checks import Hooks, implementations, unheard
from host.plugin.declarations import ATTRIBUTE, Declaration, unmet
from host.plugin.discovery import EntryPoint, Source, find, installed
from host.plugin.importing import Importer
from host.plugin.interference import NOTHING, BrokenError, Keeping, leaves_process_alone
from host.plugin.ordering import Order, cycles, saying
from host.plugin.registry import SERVING_HOOKS, Plugin, Registry
from host.runtime.steps import Steps, finish
from host.settings import (
    Loaded,
    SettingsError,
    assign_sections,
    join,
    nearest,
)
from host.text import listed, suggest

DEFAULTS = ("round_robin",)
"""Plugins that are loaded unless `no:NAME` leaves them out; they come last."""


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
            code=first.code,
        )

    def __str__(self) -> str:
        lines: list[str] = []
        last_head = None
        for error in self.errors:
            head, *rest = str(error).splitlines()
            lines.extend(rest if head == last_head else [head, *rest])
            last_head = head
        return "\n".join(lines)


class _Trouble:
    """Collects what is wrong, so that all of it can be told at once; a context manager."""

    def __init__(self) -> None:
        self.errors: list[PluginError] = []
        self.problems: list[SettingsError] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: object, _traceback: object) -> bool:
        match error:
            case PluginErrors():
                self.errors.extend(error.errors)
            case PluginError():
                self.errors.append(error)
            case SettingsError():
                self.problems.append(error)
            case _:
                return False
        return True

    @property
    def is_hopeless(self) -> bool:
        """Whether a plugin has broken what the host works with."""
        return any(isinstance(error, BrokenError) for error in self.errors)

    def raise_any(self) -> None:
        """Raise what was collected, if anything was."""
        if self.errors:
            raise self.errors[0] if len(self.errors) == 1 else PluginErrors(self.errors)
        if self.problems:
            raise self.problems[0] if len(self.problems) == 1 else _joined(self.problems)


class _Loading:
    """What is being loaded: the name of a plugin, or ""."""

    name = ""


def being_loaded() -> str:
    """Return the name of the plugin that is imported or constructed at the moment, or ""."""
    return _Loading.name


@contextmanager
def _loading(source: Source) -> Iterator[None]:
    """Have it known which plugin is being loaded, and check that the process keeps its user.

    Raises:
        PluginError: it has changed the user or the group of the whole host.
    """
    before, _Loading.name = _user(), source.name
    try:
        yield
    finally:
        _Loading.name = ""
    if (now := _user()) != before:
        uid, gid = now[0][1], now[1][1]
        raise PluginError(
            source.name,
            f"it changes the user of the whole host while it is loaded: uid {uid}, gid {gid}",
            origin=source.origin,
            hint="Name the user in [process], and the host opens what root alone may open first;"
            " or change it in on_worker_start, for the worker alone.",
        )


def _user() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    return os.getresuid(), os.getresgid()


def load(loaded: Loaded, keeping: Keeping = NOTHING) -> Registry:
    """Load the plugins that the settings select; imports those and no others.

    Args:
        loaded: the settings.
        keeping: what plugins must leave alone, and how to see whether they have.

    Raises:
        PluginError: if a plugin cannot be used; `PluginErrors` if there is more to say.
        SettingsError: if options are wrong.
    """
    return finish(load_in_steps(loaded, keeping))


def load_in_steps(loaded: Loaded, keeping: Keeping = NOTHING) -> Steps[Registry]:
    """Do the same in steps: one for each distribution that is looked at, and for each plugin.

    What a plugin itself does when it is imported and constructed is one step, however long it is.
    """
    importer = Importer()
    try:
        return (yield from _load(loaded, importer, keeping))
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


def _load(loaded: Loaded, importer: Importer, keeping: Keeping) -> Steps[Registry]:
    built: list[Built] = []
    trouble = _Trouble()
    entries = (yield from installed()).entries
    sources = yield from _sources(loaded, entries, trouble)
    loaded = assign_sections(loaded, [source.name for source, _ in sources])
    _check_sections(loaded, [source.name for source, _ in sources], trouble)
    for source, text in sources:
        with trouble, _loading(source), leaves_process_alone(source, keeping):
            built.append(build(source, text, loaded, importer))
        if trouble.is_hopeless:  # the next ones would be blamed for it
            break
        yield
    brought = _brought(built, trouble)
    hooks = dict(HOOKS)
    for namespace in brought:
        hooks.update(specified(namespace))
    found: list[Implementation] = []
    plugins: list[Plugin] = []
    declarations = {each.source.name: each.declaration for each in built}
    _check_order(built, declarations, trouble)
    for each in _complete(built, [source for source, _ in sources], entries, trouble):
        with trouble:
            members, wrong = implementations(each.source, each.instance, hooks)
            wrong += unheard(each.source, members)
            if wrong:
                raise PluginErrors(wrong)
            found.extend(members)
            plugins.append(_plugin(each, members, hooks))
        yield
    trouble.raise_any()
    return _register(plugins, found, brought, hooks, Order(declarations))


def _sources(
    loaded: Loaded, entries: Sequence[EntryPoint], trouble: _Trouble
) -> Steps[list[tuple[Source, str]]]:
    """Find what is selected, and note what is wrong with the selection."""
    found: dict[str, tuple[Source, str]] = {}
    texts: tuple[str, ...] = ()
    with trouble:
        texts = selection(loaded.settings.plugins)
    for text in texts:
        with trouble:
            source = yield from find(text, entries)
            if source.name in found:
                other = found[source.name][0]
                cause = f"two plugins would have this name: {other.origin}; {source.origin}"
                raise PluginError(source.name, cause, code="ambiguous")
            found[source.name] = (source, text)
    return list(found.values())


def _check_sections(loaded: Loaded, selected: Iterable[str], trouble: _Trouble) -> None:
    """Note which sections are of no plugin that is selected."""
    names = {*selected, *(error.plugin for error in trouble.errors)}
    unselected = [name for name in loaded.settings.options if name not in names]
    if unselected:
        trouble.problems.append(
            SettingsError(
                section_problem(
                    loaded, name, f"no plugin of this name is selected{_meant(name, names)}"
                )
                for name in unselected
            )
        )


def _meant(name: str, names: Iterable[str]) -> str:
    dotted = next((each for each in names if each.startswith(f"{name}.")), None)
    if dotted is None:
        return suggest(nearest(name, names))
    return f"; a name with dots is quoted: {join(('options', dotted))}"


def _joined(errors: Iterable[SettingsError]) -> SettingsError:
    return SettingsError(
        problem._replace(message=f"{problem.message} ({error.subject})")
        if error.subject != "settings"
        else problem
        for error in errors
        for problem in error.problems
    )


def _check_order(
    built: Iterable[Built], declarations: Mapping[str, Declaration], trouble: _Trouble
) -> None:
    """Note which plugins cannot be put into the order that they declare."""
    origins = {each.source.name: each.source.origin for each in built}
    for circle in cycles(declarations):
        names = [*circle, circle[0]]
        says = [saying(declarations, *pair) for pair in itertools.pairwise(names)]
        cause = "plugins are to be called in a circle, each before the next: "
        trouble.errors.append(
            PluginError(
                circle[0],
                "\n".join([cause + " -> ".join(names), *says]),
                origin=origins[circle[0]],
                hint=f"Take one of these names out of {ATTRIBUTE}, or leave out a plugin.",
                code="order-cycle",
            )
        )


def _complete(
    built: Iterable[Built],
    selected: Iterable[Source],
    entries: Iterable[EntryPoint],
    trouble: _Trouble,
) -> Iterator[Built]:
    """Yield those that have the plugins which they require, and note what the others lack."""
    sources = {each.name: each for each in selected}
    names = {each.name for each in entries}
    for each in built:
        if lacking := unmet(each.source, each.declaration, sources, names):
            trouble.errors.extend(lacking)
        else:
            yield each


def _brought(built: Iterable[Built], trouble: _Trouble) -> list[object]:
    """Return the hook specifications that plugins bring: what they name `hookspecs`."""
    brought: dict[str, str] = dict.fromkeys(HOOKS, "the host")
    namespaces = []
    for each in built:
        namespace = inspect.getattr_static(each.instance, "hookspecs", None)
        names = specified(namespace) if hasattr(namespace, "__dict__") else {}
        with trouble:
            for name in names:
                if name in brought:
                    cause = f"it brings the hook {name}, which {brought[name]} has as well"
                    raise PluginError(each.source.name, cause, origin=each.source.origin)
            brought |= dict.fromkeys(names, f'plugin "{each.source.name}"')
            if names:
                namespaces.append(namespace)
    return namespaces


def _plugin(built: Built, members: Sequence[Implementation], hooks: Hooks) -> Plugin:
    implemented = {each.hook for each in members}
    plain = {each.hook for each in members if not each.wrapper}
    return Plugin(
        built.source.name,
        built.text,
        built.source.origin,
        built.instance,
        built.model,
        built.options,
        hooks=tuple(hook for hook in hooks if hook in implemented),
        serves=SERVING_HOOKS & plain,
        is_scheduler="choose_worker" in plain,
    )


def load_none() -> Registry:
    """Return a registry without any plugin."""
    return _register((), (), (), HOOKS, Order({}))


def _register(
    plugins: Sequence[Plugin],
    found: Sequence[Implementation],
    brought: Sequence[object],
    hooks: Hooks,
    order: Order,
) -> Registry:
    manager = Manager()
    for namespace in brought:
        manager.add_hookspecs(cast("type", namespace))
    with warnings.catch_warnings():
        if not sys.warnoptions:  # Python hides what a specification says by `warn_on_impl`
            warnings.simplefilter("default", DeprecationWarning)
        # Pluggy calls the last one registered first.
        for plugin in reversed(plugins):
            members = [each for each in found if each.plugin == plugin.name]
            try:
                manager.register(binding.Holder(members), name=plugin.name)
            except Exception as error:
                cause = f"pluggy refuses it: {error}"
                raise PluginError(plugin.name, cause, origin=plugin.origin) from error
    # One function may serve two hooks, or two plugins: its identity alone says too little.
    known = {(each.plugin, each.hook, id(each.function)): each for each in found}
    calls = {
        hook: tuple(
            order.arranged(
                [
                    known[each.plugin_name, hook, id(each.function)]
                    for each in reversed(getattr(manager.hook, hook).get_hookimpls())
                ]
            )
        )
        for hook in hooks
    }
    return Registry(tuple(plugins), manager, calls, tuple(brought), order)

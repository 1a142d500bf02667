"""Loads a plugin as the host does, in a process that is made for it, and says what comes of it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from host import settings
from host.doctor import process_state
from host.doctor.rules import RULES, Finding
from host.errors import PluginError
from host.plugin.binding import HOOKS, specified
from host.plugin.checks import implementations, plugin_class, unheard
from host.plugin.discovery import Source
from host.plugin.importing import Importer, homes
from host.plugin.loading import DEFAULTS, PluginErrors, load
from host.plugin.registry import Registry
from host.settings import Loaded, SettingsError
from host.text import in_words, shorten


class Subject(NamedTuple):
    """A plugin that is examined.

    Attributes:
        text: what selects it.
        source: where it is found.
        home: its own file, as messages show it.
        companions: the names of the plugins that it needs: they bring hooks which it implements,
            or it requires them.
        loaded: settings, with options of plugins.
    """

    text: str
    source: Source
    home: str
    companions: tuple[str, ...]
    loaded: Loaded


def examine(subject: Subject) -> Iterator[Finding | str]:
    """Load the plugin; yield what is wrong, and in words what cannot be examined.

    What it changes in this process stays changed.
    """
    with suppress(PluginError, SettingsError):  # told below
        _load(subject, subject.companions)  # what they leave behind is not this plugin's
    traces = process_state.Traces(homes(subject.source))
    before = process_state.look()
    registry: Registry | None = None
    failure: BaseException | None = None
    try:
        registry = _load(subject, (subject.text, *subject.companions))
    except BaseException as error:
        failure = error  # it keeps alive what the plugin has made, which would be closed
    after = process_state.look_after(before)
    yield from _explain(failure, subject)
    yield from process_state.compare(before, after, traces, subject.home)
    if registry is not None:
        yield from _check_marks(registry, subject)
        model = registry.plugins[0].options_model
        if model is not None:
            yield from _check_options(model, subject.home)


def found_in(error: PluginError, name: str, home: str | None) -> Iterator[Finding]:
    """Yield what the host refuses a plugin for, as findings.

    Args:
        error: what loading it has raised.
        name: the plugin's name.
        home: its file, where the error has no place.
    """
    for each in error.errors if isinstance(error, PluginErrors) else (error,):
        place, _, subject = (each.where or home or "").partition("  ")
        message = "; ".join(each.cause.splitlines())
        if each.plugin != name:
            message = f"plugin {each.plugin}: {message}"
        code = each.code if each.code in RULES else "refused"
        yield Finding(code, message, place or None, subject or None, each.hint)


def _load(subject: Subject, texts: Iterable[str]) -> Registry:
    """Load plugins with their options, and no others."""
    chosen = dict.fromkeys(texts)
    defaults = (f"no:{name}" for name in DEFAULTS if name not in chosen)
    names = {subject.source.name, *subject.companions}
    options = {
        name: table
        for name, table in subject.loaded.settings.options.items()
        if name in names and (name in subject.companions or subject.text in chosen)
    }
    update = {"plugins": (*chosen, *defaults), "options": options}
    selected = subject.loaded.settings.model_copy(update=update)
    return load(dataclasses.replace(subject.loaded, settings=selected))


def _explain(failure: BaseException | None, subject: Subject) -> Iterator[Finding | str]:
    """Yield what is wrong with a plugin that cannot be loaded."""
    match failure:
        case None:
            return
        case PluginError():
            yield from found_in(failure, subject.source.name, subject.home)
        case SettingsError():
            yield from _explain_options(failure, subject)
        case KeyboardInterrupt():
            yield Finding("import-failed", f"it raises {in_words(failure)}", subject.home)
        case _:
            yield Finding("refused", f"looking at it raises {in_words(failure)}", subject.home)


def _explain_options(error: SettingsError, subject: Subject) -> Iterator[Finding | str]:
    """Yield what is wrong with the options; that some have to be set first is no fault."""
    missing = [each.key for each in error.problems if each.message.startswith("missing")]
    for each in error.problems:
        if each.key not in missing:
            found = f"{each.key} = {each.found}" if each.found else each.key
            yield Finding("options-invalid", f"{found}: {each.message}", each.where or None)
    if not missing:
        return
    name = subject.source.name
    given = " ".join(f"--set options.{name}.{key}=…" for key in missing)
    yield f"it was not constructed, since it needs options; to have that examined, too: {given}"
    yield from _check_unbuilt(subject)


def _check_unbuilt(subject: Subject) -> Iterator[Finding]:
    """Check the hooks of a class that cannot be constructed without options."""
    source, hooks = subject.source, dict(HOOKS)
    try:
        target = Importer().load(source)
        kind = plugin_class(source, target) if isinstance(target, ModuleType) else target
        if not inspect.isclass(kind):
            return
        if subject.companions:
            for namespace in _load(subject, subject.companions).brought:
                hooks.update(specified(namespace))
        members, wrong = implementations(source, object.__new__(kind), hooks)
        for each in (*wrong, *unheard(source, members)):
            yield from found_in(each, source.name, subject.home)
    except PluginError as error:
        yield from found_in(error, source.name, subject.home)
    except TypeError:  # an instance cannot be made without calling it: nothing more is known
        return


def _check_marks(registry: Registry, subject: Subject) -> Iterator[Finding]:
    for hook, members in registry.calls.items():
        for each in members:
            if each.plugin == subject.source.name and each.tryfirst and each.trylast:
                message = f"{hook} asks to be called first and last (tryfirst and trylast)"
                yield Finding("first-and-last", message, subject.home, f"{each.attribute}()")


def _check_options(model: type[BaseModel], home: str) -> Iterator[Finding]:
    """Check that the defaults are valid themselves, and that the schema can be made."""
    place = f"{shorten(inspect.getsourcefile(model) or home)}"
    for name, problem in _wrong_defaults(model):
        yield Finding("options-default", f"{name}: {problem}", place, f"class {model.__name__}")
    try:
        settings.schema({"plugin": model})
    except Exception as error:
        cause = str(error).partition("\n")[0]
        yield Finding("options-schema", cause, place, f"class {model.__name__}")


def _wrong_defaults(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    checking: Any = type(
        model.__name__,
        (model,),
        {"model_config": ConfigDict(validate_default=True), "__module__": model.__module__},
    )
    try:
        checking()
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            if detail["type"] != "missing":
                yield ".".join(map(str, detail["loc"])), detail["msg"]
    except Exception:  # a validator of the plugin's own: the host has called it with what is set
        return

"""Imports and constructs one plugin, with its validated options."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import NamedTuple, cast

from host.errors import PluginError
from host.plugin.checks import plugin_class
from host.plugin.declarations import Declaration, declared
from host.plugin.discovery import Source
from host.plugin.importing import Importer, import_error, is_of_operator
from host.plugin.options import options_model
from host.settings import (
    Loaded,
    Problem,
    SettingsError,
    join,
    mask_secrets,
    validate_options,
)


class Built(NamedTuple):
    """A plugin that is constructed and not yet checked."""

    source: Source
    text: str
    instance: object
    model: type | None
    options: object
    declaration: Declaration


def build(source: Source, text: str, loaded: Loaded, importer: Importer) -> Built:
    """Import and construct one plugin.

    Args:
        source: where it is.
        text: how it is selected.
        loaded: the settings with its options.
        importer: imports it.

    Raises:
        PluginError: it cannot be imported or constructed.
        SettingsError: its options are invalid, or it takes none.
    """
    target = importer.load(source)
    if isinstance(target, ModuleType):
        target = plugin_class(source, target) or target
    model = options_model(source, target)
    if model is None and source.name in loaded.settings.options:
        message = "the plugin takes no options: it has no pydantic model named Options"
        raise SettingsError([section_problem(loaded, source.name, message)])
    options = _validated(source, model, loaded) if model else None
    declaration = declared(source, cast("type | ModuleType", target))
    instance = target
    if inspect.isclass(target):
        try:
            instance = _construct(source, target, options)
        except PluginError as error:
            if model is None:
                raise
            cause = mask_secrets(error.cause, source.name, model, loaded)
            raise _with_cause(error, cause) from None
    return Built(source, text, instance, model, options, declaration)


def _validated(source: Source, model: type, loaded: Loaded) -> object:
    try:
        return validate_options(source.name, model, loaded)
    except SettingsError:
        raise
    except BaseException as error:
        if is_of_operator(error):
            raise
        wrong = import_error(source, error, "a check of its options failed", subject=model)
        cause = mask_secrets(wrong.cause, source.name, model, loaded)
        raise _with_cause(wrong, cause) from None


def _with_cause(error: PluginError, cause: str) -> PluginError:
    return PluginError(error.plugin, cause, origin=error.origin, where=error.where, hint=error.hint)


def section_problem(loaded: Loaded, name: str, message: str) -> Problem:
    """Return a problem with the options of a plugin, with the place that they come from."""
    key = join(("options", name))
    inside = (origin for at, origin in loaded.origins.items() if f"{at}.".startswith(f"{key}."))
    origin = next(inside, None)
    return Problem(key, "", message, f"from {origin}" if origin else "")


def _construct(source: Source, target: type, options: object) -> object:
    try:
        return target() if options is None else target(options)
    except PluginError as error:  # it says by itself what is wrong
        raise PluginError(
            source.name,
            error.cause,
            origin=source.origin,
            where=error.where,
            hint=error.hint,
            code="construct-failed",
        ) from error
    except BaseException as error:
        if is_of_operator(error):
            raise
        given = (
            "with its validated options"
            if options is not None
            else "without arguments, having no Options"
        )
        what = f"{target.__name__}, called {given}, failed"
        raise import_error(source, error, what, subject=target) from error

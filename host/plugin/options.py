"""Finds the model of a plugin's options, and says what is wrong with it."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType

from pydantic import BaseModel, PydanticUserError, RootModel, TypeAdapter

from host.errors import PluginError
from host.plugin.discovery import Source
from host.settings import same_variable
from host.text import shorten

NAME = "Options"
"""What a plugin calls the model of its options."""


def options_model(source: Source, target: object) -> type | None:
    """Return the model that a plugin has, or None if it takes no options.

    It is a pydantic model or a dataclass: an attribute of the class or of one that it inherits
    from, or else beside the class in its module. A class that inherits its constructor is handed
    what that constructor takes: the model beside the class that has the constructor counts, too.

    Args:
        source: the plugin.
        target: its class or module.

    Raises:
        PluginError: there is a model that cannot be used.
    """
    if isinstance(target, ModuleType):
        if _is_model(vars(target).get(NAME)):
            raise PluginError(
                source.name,
                "it has an Options model, but a module cannot be handed options",
                origin=source.origin,
                where=shorten(target.__file__ or target.__name__),
                hint="Move the hooks into a class: it is constructed with the options.",
                code="options-model",
            )
        return None
    if not inspect.isclass(target):
        raise PluginError(
            source.name,
            f"a plugin is a module or a class, and this is neither (it is: "
            f"{type(target).__name__})",
            origin=source.origin,
            code="not-found",
        )
    nested = inspect.getattr_static(target, NAME, None)
    beside = next(filter(inspect.isclass, _beside(target)), None)
    found, place = (beside, NAME) if nested is None else (nested, f"{target.__name__}.{NAME}")
    if found is None:
        return None
    if cause := _unusable(found):
        raise PluginError(
            source.name, f"{place} {cause}", origin=source.origin, code="options-model"
        )
    model: type = found
    return model


def _beside(target: type) -> Iterator[object]:
    """Yield what is called Options in the module of a class, up to that with the constructor."""
    for each in target.__mro__:
        yield vars(sys.modules.get(each.__module__, object)).get(NAME)
        if "__init__" in vars(each):
            return


def _is_model(value: object) -> bool:
    return inspect.isclass(value) and (
        issubclass(value, BaseModel) or dataclasses.is_dataclass(value)
    )


def _unusable(model: object) -> str | None:
    """Return why a model cannot be used, or None."""
    if not isinstance(model, type) or not _is_model(model):
        return "is not a pydantic model or a dataclass"
    if issubclass(model, RootModel):
        return "is a RootModel: the keys of a section are the fields of a model"
    try:
        if issubclass(model, BaseModel):
            model.model_rebuild()
        TypeAdapter(model)
        same = same_variable(model)
    except (PydanticUserError, NameError, TypeError) as error:
        return f"cannot be used by pydantic: {str(error).partition(chr(10))[0]}"
    if same is not None:
        return f'has the keys "{same[0]}" and "{same[1]}", which one variable would set'
    return None

"""Validates the options of a plugin against the plugin's own model."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from host.settings.errors import Problem, SettingsError
from host.settings.fields import join
from host.settings.loading import Loaded
from host.settings.problems import Scope, drop_unknown, explain, follow
from host.settings.toml_lines import Path

Model = TypeVar("Model", bound=BaseModel)


def validate_options(name: str, model: type[Model], loaded: Loaded) -> Model:
    """Validate the section `[options.NAME]` and return it as an instance of `model`.

    Unknown keys are refused even where the model ignores them, since a typo would pass in silence;
    a model that says `extra="allow"` gets them.

    Raises:
        SettingsError: With everything that is wrong; keys are named from the section on.
    """
    problems: list[Problem] = []
    scope = Scope(model, loaded.origins, ("options", name))
    table = drop_unknown(loaded.settings.options.get(name, {}), scope, problems)
    options: Model | None = None
    try:
        options = _validate(model, table, scope, loaded)
    except ValidationError as error:
        problems += explain(error, table, scope)
    if problems or options is None:
        raise SettingsError(problems, f'settings of plugin "{name}"')
    return options


def _validate(model: type[Model], table: dict[str, Any], scope: Scope, loaded: Loaded) -> Model:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        # The text 0123 or 1e5 of a variable was read as a number where the model wants a string.
        restored = False
        for detail in error.errors(include_url=False):
            path, _ = follow(detail, table, model)
            text = loaded.texts.get(join((*scope.prefix, *path)))
            if text is not None:
                restored |= _restore(table, path, text)
        if not restored:
            raise
    return model.model_validate(table)


def _restore(table: dict[str, Any], path: Path, text: str) -> bool:
    *parents, last = path
    inner: Any = table
    for part in parents:
        inner = inner[part]
    changed = inner[last] != text
    inner[last] = text
    return bool(changed)

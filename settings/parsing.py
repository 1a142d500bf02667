"""Gives the text of a variable or a flag the type that its key takes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from typing import Any, NoReturn, Union

from pydantic import Json, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation

from host.settings.models import Settings
from host.settings.places import Place, alternatives, below, field_at, is_list, is_mapping, is_table
from host.settings.toml_lines import Path


def parse(path: Path, text: str) -> object:
    """Return the value that `text` stands for at `path`.

    A text that stands for none is returned as it is: validation then says what was expected. So is
    that of an option: its type is known only to the plugin, which is loaded later.
    """
    if path[0] == "options":
        return text
    field = field_at(Settings, path)
    if field is None or field.annotation is None:
        return text
    if any(map(is_list, alternatives(field.annotation))):
        return _guess(text) if text.lstrip().startswith("[") else _items(text)
    try:
        value: object = TypeAdapter(field.annotation).validate_python(text)
    except ValidationError:
        return text
    return value


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def parse_option(places: Sequence[Place], text: str) -> object:
    """Return the value that `text` stands for where a plugin's model has `places`.

    That is the text itself if the type takes it as it is; or else the value that JSON or TOML make
    of it; or else, for a list, what is between its commas. Where a type takes any value, or text
    as well as others, JSON and TOML come first: the text could never be anything else. Whether the
    value is valid is not decided here, but by the model.
    """
    if any(Json in (mark, type(mark)) for p in places if p.field for mark in p.field.metadata):
        return text
    annotation: Any = Union[tuple(place.annotation for place in places)] if places else Any  # noqa: UP007
    kinds = [kind for place in places for kind in alternatives(place.annotation)] or [Any]
    guess = _guess(text)
    any_text = Any in kinds or object in kinds or (str in kinds and len(kinds) > 1)
    candidates: list[object] = [guess, text] if any_text else [text, guess]
    if any(map(is_list, kinds)) and not text.lstrip().startswith("["):
        candidates.append(_elements(places, text))
    try:
        adapter = TypeAdapter(annotation)
    except (PydanticUserError, PydanticUndefinedAnnotation):
        return guess
    for candidate in candidates:
        try:
            value = adapter.validate_python(candidate)
        except ValidationError:
            continue
        # A strict model would refuse the text of a number.
        return value if type(value) in (bool, int, float) else candidate
    whole = isinstance(guess, dict | list) and any(is_table(k) or is_mapping(k) for k in kinds)
    return (
        guess
        if whole or isinstance(guess, list)
        else candidates[-1]
        if len(candidates) > 2
        else text
    )


def _elements(places: Sequence[Place], text: str) -> list[object]:
    items = _items(text)
    return [
        parse_option([one for place in places for one in below(place, index)], item)
        for index, item in enumerate(items)
    ]


def _guess(text: str) -> object:
    """Return the JSON or TOML value of a text, or the text."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        pass
    try:
        table = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    # A text of several lines could hold more keys.
    return table["value"] if len(table) == 1 else text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")

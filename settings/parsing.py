"""Gives the text of a variable or a flag the type that its key takes."""

from __future__ import annotations

import json
import tomllib
from typing import NoReturn

from pydantic import TypeAdapter, ValidationError

from host.settings.fields import field_at
from host.settings.models import Settings
from host.settings.toml_lines import Path

_LISTS = ("plugins", "listen")


def parse(path: Path, text: str) -> object:
    """Return the value that `text` stands for at `path`.

    A text that stands for none is returned as it is: validation then says what was expected.
    """
    if path[0] == "options":
        return _guess(text)
    field = field_at(Settings, path)
    if field is None or field.annotation is None:
        return text
    if path[-1] in _LISTS:
        return _parse_list(text)
    try:
        value: object = TypeAdapter(field.annotation).validate_python(text)
    except ValidationError:
        return text
    return value


def _parse_list(text: str) -> object:
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [item.strip() for item in text.split(",") if item.strip()]


def _guess(text: str) -> object:
    """Return the JSON or TOML value of a text whose type only the plugin knows, or the text."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        pass
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A text of several lines could hold more keys.
    return table["value"] if len(table) == 1 else text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")

"""Writes values as they would be written in a TOML file."""

from __future__ import annotations

import datetime
import enum

from pydantic_core import to_jsonable_python

from host.settings.keys import join, quoted

NONE = "(none)"
"""What stands for None, which TOML cannot write."""


def write(value: object) -> str:
    """Return a value as TOML.

    What TOML has no type for, such as a path or a duration, is written as pydantic writes it in
    JSON, which is a text that it also takes; a Decimal so keeps all its digits.
    """
    if isinstance(value, enum.Enum):
        return write(value.value)
    if isinstance(value, dict):
        pairs = (f"{join((plain(name),))} = {write(inner)}" for name, inner in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(map(write, value))}]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, datetime.date) or (isinstance(value, datetime.time) and not value.tzinfo):
        return value.isoformat()
    return _number(value) or write(to_jsonable_python(value, fallback=str, serialize_unknown=True))


def _number(value: object) -> str | None:
    match value:
        case None:
            return NONE
        case bool():
            return str(value).lower()
        case int():
            return int.__repr__(value)
        case float():
            return float.__repr__(value)
        case _:
            return None


def plain(key: object) -> str:
    """Return the key of a table as a string, since TOML knows no others."""
    text = to_jsonable_python(key, fallback=str, serialize_unknown=True)
    return text if isinstance(text, str) else write(text)

"""Lists the settings in effect, with where each value came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from host.settings.errors import MASK, is_secret_name, show
from host.settings.fields import join, key_of
from host.settings.loading import Loaded
from host.settings.origins import Origin, locate
from host.settings.toml_lines import Path


class AppliedSetting(NamedTuple):
    """One setting in effect, as people see it.

    Attributes:
        key: The dotted key.
        value: The value as it would be written in a file, masked if secret.
        origin: Where it came from, as `Origin.text` has it.
    """

    key: str
    value: str
    origin: str


def render(loaded: Loaded, options: Mapping[str, BaseModel] | None = None) -> list[AppliedSetting]:
    """Return every setting in effect.

    Args:
        loaded: The settings.
        options: The validated options of plugins by plugin name; defaults in them are shown too.
            Of other plugins only what was set is known.
    """
    tables: dict[str, Any] = {**loaded.settings.options, **(options or {})}
    pairs: list[tuple[Path, object]] = []
    for name in type(loaded.settings).model_fields:
        if name != "options":
            pairs += _flatten(getattr(loaded.settings, name), (name,))
    for name, table in tables.items():
        pairs += _flatten(table, ("options", name))
    return [
        AppliedSetting(join(path), _value(path, value), _origin(loaded, path).text)
        for path, value in pairs
    ]


class Difference(NamedTuple):
    """A setting that two hosts have different values of; None for one that has none.

    Attributes:
        key: The dotted key.
        before: The value before.
        after: The value after.
        origin: Where the value after came from; if there is none, that before.
    """

    key: str
    before: str | None
    after: str | None
    origin: str


def differences(
    before: Iterable[AppliedSetting], after: Iterable[AppliedSetting]
) -> list[Difference]:
    """Return the settings whose values differ; those that are masked look alike."""
    old, new = {each.key: each for each in before}, {each.key: each for each in after}
    found = []
    for key, origin in {each.key: each.origin for each in [*old.values(), *new.values()]}.items():
        was, becomes = old.get(key), new.get(key)
        values = was and was.value, becomes and becomes.value
        if values[0] != values[1]:
            found.append(Difference(key, *values, origin))
    return found


def render_text(rows: Iterable[AppliedSetting]) -> str:
    """Return aligned lines `key = value  # origin`."""
    rows = list(rows)
    keys = max((len(row.key) for row in rows), default=0)
    width = max((len(row.value) for row in rows), default=0)
    return "".join(f"{r.key:<{keys}} = {r.value:<{width}}  # {r.origin}\n" for r in rows)


def _flatten(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    match value:
        case BaseModel():
            for name, field in type(value).model_fields.items():
                yield from _flatten(getattr(value, name), (*path, key_of(name, field)))
            for name, extra in (value.model_extra or {}).items():
                yield from _flatten(extra, (*path, name))
        case dict() if value:
            for name, inner in value.items():
                yield from _flatten(inner, (*path, str(name)))
        case list() | tuple() if any(isinstance(item, BaseModel | dict) for item in value):
            for index, item in enumerate(value):
                yield from _flatten(item, (*path, index))
        case _:
            yield path, value


def _value(path: Path, value: object) -> str:
    named_secret = any(isinstance(part, str) and is_secret_name(part) for part in path[2:])
    if named_secret or _hides(value):
        return MASK
    if path[0] == "listen" and path[-1] == "mode" and isinstance(value, int):
        return f"0o{value:o}"
    return "(none)" if value is None else show(value, longest=None)


def _hides(value: object) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_hides, value))
    return isinstance(value, SecretStr | SecretBytes | Secret)


def _origin(loaded: Loaded, path: Path) -> Origin:
    origin = loaded.origin(join(path))
    # A value inside one that was given as a whole has no origin of its own.
    return locate(loaded.origins, path) if path[0] == "options" and _given(loaded, path) else origin


def _given(loaded: Loaded, path: Path) -> bool:
    inner: Any = loaded.settings.options
    for part in path[1:]:
        try:
            inner = inner[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True

"""Lists the settings in effect, with where each value came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, RootModel, Secret, SecretBytes, SecretStr
from typing_extensions import is_typeddict

from host.settings import bus, process
from host.settings.errors import MASK, show
from host.settings.keys import join
from host.settings.loading import Loaded
from host.settings.origins import DEFAULT, locate
from host.settings.places import (
    alternatives,
    at,
    fields_of,
    holds_secret,
    is_list,
    is_mapping,
    is_table,
    spellings,
)
from host.settings.plugin_options import assign_sections, gather
from host.settings.toml_lines import Path
from host.settings.toml_values import plain


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


def render(loaded: Loaded, options: Mapping[str, object] | None = None) -> list[AppliedSetting]:
    """Return every setting in effect.

    Args:
        loaded: The settings.
        options: The validated options of plugins by plugin name; defaults in them are shown too.
            Of other plugins only what was set is known.
    """
    options = options or {}
    loaded = assign_sections(loaded, list(options))
    rows: list[AppliedSetting] = []
    for name in type(loaded.settings).model_fields:
        if name != "options":
            rows += _rows(getattr(loaded.settings, name), (name,), loaded)
    for name in {**loaded.settings.options, **options}:
        rows += _options_rows(name, options.get(name), loaded)
    return rows


def _rows(value: object, path: Path, loaded: Loaded) -> Iterator[AppliedSetting]:
    for inner, found in _flatten(_Flat(type(value), value, None), path):
        yield AppliedSetting(join(inner), _value(inner, found), loaded.origin(join(inner)).text)


def _options_rows(name: str, options: object, loaded: Loaded) -> Iterator[AppliedSetting]:
    if options is None:
        model, origins = None, loaded.origins
        value: object = loaded.settings.options[name]
        table: object = value
    else:
        model, value = type(options), options
        table, origins, _ = gather(name, model, loaded)
    for path, found in _flatten(_Flat(model, value, table), ()):
        here = ("options", name, *path)
        # A value inside one that was given as a whole has no origin of its own.
        given = locate(origins, here) if _given(table, path) else origins.get(join(here), DEFAULT)
        shown = MASK if holds_secret(model, path) else _value(here, found)
        yield AppliedSetting(join(here), shown, given.text)


_FIXED = frozenset(
    {f"process.{key}" for key in process.FIXED} | {f"bus.{key}" for key in bus.FIXED}
)


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


def is_fixed(key: str) -> bool:
    """Tell whether only a restart changes a setting, whatever else changes."""
    return key in _FIXED


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


class _Flat(NamedTuple):
    """A value that is taken apart.

    Attributes:
        model: The type that says what its keys are, or None if nobody does.
        value: The value.
        given: What was set of it: a table, or None.
    """

    model: Any
    value: object
    given: object

    def inside(self, key: Path, value: object) -> _Flat:
        """Return what is at a key or an index of this."""
        kinds = [kind for place in at(self.model, key) for kind in alternatives(place.annotation)]
        given = self.given
        for part in key:
            given = _at(given, part)
        typed = next((kind for kind in kinds if is_typeddict(kind)), None)
        of_elements = next((kind for kind in kinds if is_list(kind) or is_mapping(kind)), None)
        return _Flat(type(value) if is_table(type(value)) else typed or of_elements, value, given)


def _flatten(flat: _Flat, path: Path) -> Iterator[tuple[Path, object]]:
    value = flat.value.root if isinstance(flat.value, RootModel) else flat.value
    for key, inner in _parts(flat.model, value, flat.given):
        yield from _flatten(flat.inside(key, inner), (*path, *key))
    if not _is_parted(value):
        yield path, value


def _is_parted(value: object) -> bool:
    """Tell whether a value is shown part by part: a table, or a list with tables in it."""
    match value:
        case dict():
            return bool(value)
        case list() | tuple():
            return any(_is_parted(item) or item == {} for item in value)
        case RootModel():
            return _is_parted(value.root)
        case _:
            return is_table(type(value))


def _parts(model: Any, value: object, given: object) -> Iterator[tuple[Path, object]]:
    match value:
        case list() | tuple() if _is_parted(value):
            yield from (((index,), item) for index, item in enumerate(value))
        case dict() if is_table(model):
            yield from ((_key(model, name, given), value[name]) for name in value)
        case dict():
            yield from (((plain(name),), inner) for name, inner in value.items())
        case _ if is_table(type(value)):
            kind: type = type(value)
            for name in fields_of(kind):
                yield _key(kind, name, given), getattr(value, name)
            extra = value.model_extra if isinstance(value, BaseModel) else None
            yield from (((name,), inner) for name, inner in (extra or {}).items())


def _key(kind: type, name: str, given: object) -> Path:
    """Return the key of a field: that which was set, or else that which is listed first."""
    if name not in fields_of(kind):
        return (name,)
    ways = spellings(kind, name)
    return next((way for way in ways if _at(given, way[0]) is not None), ways[0])


def _at(given: object, part: str | int) -> object:
    match given:
        case dict():
            return given.get(part)
        case list() | tuple() if isinstance(part, int) and part < len(given):
            return given[part]
        case _:
            return None


def _value(path: Path, value: object) -> str:
    if _hides(value) or (path[0] == "options" and holds_secret(None, path[2:])):
        return MASK
    if path[0] == "listen" and path[-1] == "mode" and isinstance(value, int):
        return f"0o{value:o}"
    return show(value, longest=None)


def _hides(value: object) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_hides, value))
    return isinstance(value, SecretStr | SecretBytes | Secret)


def _given(table: object, path: Path) -> bool:
    for part in path:
        table = _at(table, part)
    return table is not None

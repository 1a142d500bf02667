"""Compares tables with the models that describe them: keys that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from host.settings.address import EXAMPLE, PARTS_OF_AN_ADDRESS
from host.settings.errors import MASK, Problem, show
from host.settings.fields import leaves, sections
from host.settings.keys import join
from host.settings.origins import Origin, locate
from host.settings.places import (
    Place,
    allows_extra,
    alternatives,
    below,
    fields_of,
    holds_secret,
    is_table,
    keys_of,
    spellings,
    tables_at,
)
from host.settings.suggestions import nearest
from host.settings.toml_lines import Path

_FAR = 0.8
"""How like its key must be to one of another table, which would be wrong in two ways."""
_MOST_ADVISED = 100
"""How many problems have a guess at what was meant: each takes milliseconds."""


class Scope(NamedTuple):
    """What a check needs to know of the table it looks at.

    Attributes:
        model: The model of the table.
        origins: Where its values came from, by dotted key from the root of all settings.
        prefix: The path of the table from that root; problems name keys from the table on.
    """

    model: type
    origins: Mapping[str, Origin]
    prefix: Path = ()

    def problem(self, path: Path, value: object, message: str, *, secret: bool = False) -> Problem:
        """Make the problem of the value at `path`."""
        # Whether a text among options is a secret is not known before their plugin's model is.
        unknown = not self.prefix and path[:1] == ("options",) and isinstance(value, str | list)
        if secret or unknown or self.secret(path):
            found = MASK
            if isinstance(value, str) and value:
                message = message.replace(value, MASK)
        else:
            found = show(value)
        return Problem(join(path), found, message, self.where(path))

    def secret(self, path: Path) -> bool:
        """Tell whether the value at `path` must not be shown."""
        return holds_secret(self.model, path)

    def where(self, path: Path) -> str:
        """Return where the value at `path` came from, as problems say it."""
        origin = locate(self.origins, (*self.prefix, *path))
        return f"from {origin}" if origin.kind != "default" else "default"


def drop_unknown(table: Mapping[str, Any], scope: Scope, problems: list[Problem]) -> dict[str, Any]:
    """Return a copy of `table` without the keys its model does not have, each one a problem."""
    return _Sieve(scope, problems).table(table, [scope.model], ())


class _Sieve(NamedTuple):
    scope: Scope
    problems: list[Problem]

    def table(self, table: Mapping[str, Any], kinds: Sequence[type], path: Path) -> dict[str, Any]:
        """Keep what is known; in a union of tables, that is what any of them knows."""
        known = {key for kind in kinds for key in keys_of(kind)}
        # An author who allows extras wants keys that only the operator knows.
        free = any(map(allows_extra, kinds))
        kept: dict[str, Any] = {}
        for key, value in table.items():
            if key in known:
                places = [one for kind in kinds for one in below(Place(kind), key)]
                kept[key] = self.value(value, places, (*path, key))
            elif free:
                kept[key] = value
            else:
                advises = len(self.problems) < _MOST_ADVISED
                unknown = _unknown(key, value, kinds, path, self.scope, advises=advises)
                self.problems.append(unknown)
        return kept

    def value(self, value: Any, places: Sequence[Place], path: Path) -> Any:
        if isinstance(value, dict):
            if kinds := tables_at(places, value):
                return self.table(value, kinds, path)
            return {key: self._below(inner, places, path, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._below(inner, places, path, i) for i, inner in enumerate(value)]
        return value

    def _below(self, value: Any, places: Sequence[Place], path: Path, part: str | int) -> Any:
        found = [one for place in places for one in below(place, part)]
        return self.value(value, found, (*path, part))


def _unknown(
    key: str,
    value: object,
    kinds: Sequence[type],
    path: Path,
    scope: Scope,
    *,
    advises: bool,
) -> Problem:
    """Return what is wrong with an unknown key, and unless there are too many, what was meant."""
    here = (*path, key)
    if not advises:
        return scope.problem(here, value, "unknown key", secret=True)
    fields = {one: places for kind in kinds for one, places in keys_of(kind).items()}
    if isinstance(value, dict) and scope.model in kinds and not scope.prefix:
        known = [*sections(scope.model), "tls", "pools", "options"]
        guess = nearest(key, known)
        hint = f"did you mean [{guess}]?" if guess else f"sections: {_list(known, '[{}]')}"
        return Problem(join(here), "", f"unknown section, {hint}", scope.where(here))
    guess = nearest(key, fields)
    hidden = [
        each
        for each, places in fields.items()
        if scope.secret((*path, each)) and (isinstance(value, dict) or not _are_tables(places))
    ]
    # It may be a secret that was meant, where no other key is near.
    secret = bool(hidden) and (guess is None or nearest(key, hidden) is not None)
    message = f"unknown key, {_advice(key, guess, here, fields, scope)}"
    return scope.problem(here, value, message, secret=secret)


def _are_tables(places: Iterable[Place]) -> bool:
    """Tell whether a value there must be a table."""
    return all(is_table(kind) for place in places for kind in alternatives(place.annotation))


def _advice(key: str, guess: str | None, here: Path, fields: Iterable[str], scope: Scope) -> str:
    if (place := _belongs(key, here, scope)) is not None:
        return place
    if guess is not None:
        return f'did you mean "{guess}"?'
    if key in PARTS_OF_AN_ADDRESS:
        return f'a whole address is set with listen = ["{EXAMPLE}"]'
    elsewhere = {str(path[-1]): join(path) for path, _ in leaves(scope.model)}
    if (far := nearest(key, elsewhere, _FAR)) is not None:
        return f'did you mean "{elsewhere[far]}"?'
    return f"keys here: {_list(fields, '{}')}"


def _belongs(key: str, here: Path, scope: Scope) -> str | None:
    """Say where a key belongs that is right but at the wrong level."""
    for path, _ in leaves(scope.model):
        if path[-1] != key or path == here:
            continue
        if len(path) > 1:
            return f"belongs in [{join((*scope.prefix, *path[:-1]))}]"
        if scope.prefix:
            return f"belongs in [{join(scope.prefix)}]"
        return "belongs at the top, above the first [section]"
    return None


def ignored(value: object, table: object, scope: Scope, path: Path = ()) -> Iterator[Problem]:
    """Yield the keys that validation has passed over: pydantic took their table for another one.

    Args:
        value: What was made of `table`.
        table: What was set, without the keys that no table knows.
        scope: What is known of it.
        path: Where it is.
    """
    if isinstance(table, list) and isinstance(value, list | tuple):
        for index, (inner, given) in enumerate(zip(value, table, strict=False)):
            yield from ignored(inner, given, scope, (*path, index))
    elif isinstance(table, dict) and isinstance(value, dict):
        for key in value.keys() & table.keys():
            yield from ignored(value[key], table[key], scope, (*path, key))
    elif isinstance(table, dict) and is_table(type(value)):
        yield from _ignored(value, table, scope, path)


def _ignored(
    value: object, table: Mapping[str, Any], scope: Scope, path: Path
) -> Iterator[Problem]:
    kind: Any = type(value)
    known = keys_of(kind)
    message = f"unknown key of {kind.__name__}, which the rest stands for, keys: "
    for key in table.keys() - known.keys() if not allows_extra(kind) else ():
        yield scope.problem((*path, key), table[key], message + _list(known, "{}"))
    for name in fields_of(kind):
        for way in spellings(kind, name):
            if len(way) == 1 and way[0] in table:
                inner = getattr(value, name)
                yield from ignored(inner, table[str(way[0])], scope, (*path, *way))


def _list(words: Iterable[str], form: str) -> str:
    return ", ".join(map(form.format, words)) or "none"

"""Finds what a model has at a path: its fields there, their types, and whether one is a secret."""

from __future__ import annotations

import collections
import dataclasses
import functools
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typing_extensions
from pydantic import AliasChoices, AliasPath, BaseModel, RootModel, Secret, SecretBytes, SecretStr
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

from host.settings.errors import is_secret_name
from host.settings.toml_lines import Path

_SECRETS = (SecretStr, SecretBytes, Secret)
_SEQUENCES = (list, tuple, set, frozenset, collections.deque)
_QUALIFIERS = (typing.Required, typing.NotRequired, typing_extensions.ReadOnly)


class PathOfSecret:
    """Marks a field, as `Annotated[str, PathOfSecret()]`, that only says where a secret is.

    What its name says of its value is not so: the value may be shown.
    """


class Place(NamedTuple):
    """What a model has at one place.

    Attributes:
        annotation: The type of what is there.
        field: The field it is the value of, or None if it is an element of one.
    """

    annotation: Any
    field: FieldInfo | None = None


class _Within(NamedTuple):
    """A table that is there only because an `AliasPath` leads through it."""

    rest: Path
    field: FieldInfo


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union other than None, or the annotation alone."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(
            one
            for member in get_args(annotation)
            if member is not type(None)
            for one in alternatives(member)
        )
    if isinstance(annotation, typing_extensions.TypeAliasType):
        return alternatives(annotation.__value__)
    if isinstance(annotation, typing.NewType):
        return alternatives(annotation.__supertype__)
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return alternatives(annotation.model_fields["root"].annotation)
    return (annotation,)


def is_table(kind: Any) -> bool:
    """Tell whether a type is a table with fields: a model, a dataclass or a typed dictionary."""
    return isinstance(kind, type) and (
        (issubclass(kind, BaseModel) and not issubclass(kind, RootModel))
        or dataclasses.is_dataclass(kind)
        or typing_extensions.is_typeddict(kind)
    )


@functools.cache
def fields_of(kind: type) -> dict[str, FieldInfo]:
    """Return the fields of a table by their names."""
    if issubclass(kind, BaseModel):
        return kind.model_fields
    if dataclasses.is_dataclass(kind):
        if not hasattr(kind, "__pydantic_fields__"):
            kind = pydantic_dataclass(kind)
        return {n: f for n, f in kind.__pydantic_fields__.items() if f.init is not False}  # type: ignore[attr-defined]
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    return {name: FieldInfo.from_annotation(_unqualified(hint)) for name, hint in hints.items()}


def _unqualified(hint: Any) -> Any:
    while get_origin(hint) in _QUALIFIERS:
        hint = get_args(hint)[0]
    return hint


def config_of(kind: type) -> Mapping[str, Any]:
    """Return pydantic's configuration of a table."""
    if issubclass(kind, BaseModel):
        return typing.cast("Mapping[str, Any]", kind.model_config)
    found: Mapping[str, Any] = getattr(kind, "__pydantic_config__", {})
    return found


def allows_extra(kind: type) -> bool:
    """Tell whether a table takes keys that it has no field for."""
    return config_of(kind).get("extra") == "allow"


def spellings(kind: type, name: str) -> list[Path]:
    """Return the ways in which a field can be given, that which is listed first."""
    field, config = fields_of(kind)[name], config_of(kind)
    alias = field.validation_alias or field.alias
    ways: list[Path] = []
    if alias is not None and config.get("validate_by_alias", True):
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        ways += [tuple(one.path) if isinstance(one, AliasPath) else (one,) for one in choices]
    by_name = config.get("validate_by_name") or config.get("populate_by_name")
    if not ways or by_name:
        ways.append((name,))
    return list(dict.fromkeys(ways))


def key_of(kind: type, name: str) -> Path:
    """Return the key of a field in a file."""
    return spellings(kind, name)[0]


@functools.cache
def keys_of(kind: type) -> dict[str, list[Place]]:
    """Return what is at each key of a table, with all ways to write it."""
    found: dict[str, list[Place]] = {}
    for name, field in fields_of(kind).items():
        for first, *rest in spellings(kind, name):
            place = Place(_Within(tuple(rest), field)) if rest else Place(field.annotation, field)
            found.setdefault(str(first), []).append(place)
    return found


def below(place: Place, part: str | int) -> Iterator[Place]:
    """Yield what is at a key or an index of a place, in each of its alternatives."""
    for kind in alternatives(place.annotation):
        origin = get_origin(kind) or kind
        if isinstance(kind, _Within):
            if kind.rest[0] == part:
                rest = kind.rest[1:]
                yield Place(kind._replace(rest=rest) if rest else kind.field.annotation, kind.field)
        elif is_table(kind):
            yield from keys_of(kind).get(str(part), ())
        elif is_mapping(kind):
            yield Place(get_args(kind)[1] if len(get_args(kind)) == 2 else Any)
        elif origin is tuple and isinstance(part, int):
            members = [each for each in get_args(kind) if each is not Ellipsis]
            if members:
                yield Place(members[min(part, len(members) - 1)])
        elif is_list(kind):
            yield Place(get_args(kind)[0] if get_args(kind) else Any)
        elif kind in (Any, object):
            yield Place(Any)


def is_mapping(kind: Any) -> bool:
    """Tell whether a type is a table whose keys are free to choose."""
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping) and not is_table(kind)


def is_list(kind: Any) -> bool:
    """Tell whether a type is one that is written as a list."""
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or is_table(kind) or is_mapping(kind):
        return False
    return issubclass(origin, _SEQUENCES) or (
        origin.__module__ == "collections.abc" and issubclass(origin, Collection)
    )


def at(model: type, path: Path) -> list[Place]:
    """Return what a model has at a path; nothing if the path leads nowhere."""
    found = [Place(model)]
    for part in path:
        found = [one for place in found for one in below(place, part)]
    return found


def field_at(model: type, path: Path) -> FieldInfo | None:
    """Return the field that a path leads to, or None when it leads inside one or nowhere."""
    return next((place.field for place in at(model, path) if place.field is not None), None)


def tables_at(places: Iterable[Place], value: Mapping[str, Any]) -> list[type]:
    """Return which tables `value` may be, or nothing if it need not be one with fields.

    Of a union, those are left out that want another text in a key, such as its discriminator.
    """
    kinds = [kind for place in places for kind in alternatives(place.annotation)]
    if any(
        kind in (Any, object) or is_mapping(kind) or isinstance(kind, _Within) for kind in kinds
    ):
        return []
    tables = [kind for kind in kinds if is_table(kind)]
    return [kind for kind in tables if _fits(kind, value)] or tables


def _fits(kind: type, value: Mapping[str, Any]) -> bool:
    for key, places in keys_of(kind).items():
        for place in places:
            if key in value and get_origin(place.annotation) is Literal:
                words = get_args(place.annotation)
                if value[key] not in [getattr(word, "value", word) for word in words]:
                    return False
    return True


def holds_secret(model: type | None, path: Path) -> bool:
    """Tell whether what is at `path` must not be shown: by its name, or by its type in `model`."""
    if model is not None and any(one.field and _is_path(one.field) for one in at(model, path)):
        return False
    if any(isinstance(part, str) and is_secret_name(part) for part in path):
        return True
    if model is None:
        return False
    prefixes = (path[:length] for length in range(1, len(path)))
    if any(is_secret(one.annotation, deep=False) for each in prefixes for one in at(model, each)):
        return True
    return bool(path) and any(is_secret(one.annotation, deep=True) for one in at(model, path))


def is_secret(annotation: Any, *, deep: bool, seen: frozenset[type] = frozenset()) -> bool:
    """Tell whether a type of pydantic that hides its value is in an annotation.

    Args:
        annotation: Any type.
        deep: Whether the fields of tables count, too, with their names.
        seen: The tables that have been looked at: a table may hold itself.
    """
    for kind in alternatives(annotation):
        origin = get_origin(kind) or kind
        if isinstance(origin, type) and issubclass(origin, _SECRETS):
            return True
        if isinstance(kind, _Within):
            if is_secret(kind.field.annotation, deep=deep, seen=seen):
                return True
        elif is_table(kind):
            if deep and kind not in seen and _has_secret(kind, seen | {kind}):
                return True
        elif any(is_secret(arg, deep=deep, seen=seen) for arg in _parts(kind)):
            return True
    return False


def _parts(kind: Any) -> Iterable[Any]:
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return typing.get_type_hints(kind).values()
    return [arg for arg in get_args(kind) if get_origin(kind) is not Literal]


def _has_secret(kind: type, seen: frozenset[type]) -> bool:
    return any(
        (is_secret_name(name) and not _is_path(field))
        or is_secret(field.annotation, deep=True, seen=seen)
        for name, field in fields_of(kind).items()
    )


def _is_path(field: FieldInfo) -> bool:
    return any(isinstance(mark, PathOfSecret) for mark in field.metadata)

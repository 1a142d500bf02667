"""Walks the fields of pydantic models, and puts in words what a field takes."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from host.settings.errors import is_secret_name
from host.settings.toml_lines import Path

_SECRETS = (SecretStr, SecretBytes, Secret)
_NOUNS = {int: "integer", float: "number", bool: "true or false", str: "string"}


def join(path: Path) -> str:
    """Return the dotted key of a path: `listen[0].address`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def leaves(model: type[BaseModel], prefix: Path = ()) -> Iterator[tuple[Path, FieldInfo]]:
    """Yield every field that is no section, with its path, in order of declaration."""
    for name, field in model.model_fields.items():
        if is_section(field):
            inner = model_in(field.annotation)
            assert inner is not None
            yield from leaves(inner, (*prefix, name))
        else:
            yield (*prefix, name), field


def sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the fields of `model` that are tables with a model of their own."""
    return {
        name: inner
        for name, field in model.model_fields.items()
        if is_section(field) and (inner := model_in(field.annotation)) is not None
    }


def is_section(field: FieldInfo) -> bool:
    """Tell whether the field is one table with a model, not a list or a mapping of such tables."""
    return any(
        isinstance(kind, type) and issubclass(kind, BaseModel)
        for kind in alternatives(field.annotation)
    )


def is_mapping(field: FieldInfo) -> bool:
    """Tell whether the field is a table whose keys are free to choose."""
    return any(
        isinstance(origin := get_origin(kind) or kind, type) and issubclass(origin, Mapping)
        for kind in alternatives(field.annotation)
    )


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
    return (annotation,)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first model anywhere inside an annotation, such as that of a list's elements."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((m for arg in get_args(annotation) if (m := model_in(arg)) is not None), None)


def key_of(name: str, field: FieldInfo) -> str:
    """Return the key of a field in a file: its alias, if it has one."""
    alias = field.validation_alias
    return (alias if isinstance(alias, str) else field.alias) or name


def named(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of `model` by the key they have in a file."""
    fields: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        fields[key_of(name, field)] = field
        if model.model_config.get("populate_by_name"):
            fields[name] = field
    return fields


def field_at(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """Return the field that a path leads to, or None when it leads inside one or nowhere."""
    field: FieldInfo | None = None
    current: type[BaseModel] | None = model
    for position, part in enumerate(path):
        if isinstance(part, int) or (field is not None and is_mapping(field)):
            if position == len(path) - 1:
                return None
            # What comes next is a key of the element, not of the list or mapping.
            field = None
            continue
        field = named(current).get(part) if current is not None else None
        if field is None:
            return None
        current = model_in(field.annotation)
    return field


def holds_secret(model: type[BaseModel] | None, path: Path) -> bool:
    """Tell whether what is at `path` must not be shown: by its name, or by its type in `model`."""
    if any(isinstance(part, str) and is_secret_name(part) for part in path):
        return True
    if model is None:
        return False
    prefixes = (path[:length] for length in range(1, len(path) + 1))
    return any((f := field_at(model, prefix)) and is_secret(f.annotation) for prefix in prefixes)


def is_secret(annotation: Any) -> bool:
    """Tell whether a type of pydantic that hides its value is in an annotation."""
    if annotation in _SECRETS or get_origin(annotation) in _SECRETS:
        return True
    return any(is_secret(arg) for arg in get_args(annotation))


def bounds(field: FieldInfo) -> str:
    """Return the range of a number in words: `from 1 to 1024`; "" when there is none."""
    low = next((str(m.ge) for m in field.metadata if isinstance(m, Ge)), None)
    high = next((str(m.le) for m in field.metadata if isinstance(m, Le)), None)
    words = []
    if low is not None and high is not None:
        words.append(f"from {low} to {high}")
    elif low is not None or high is not None:
        words.append(f"of at least {low}" if high is None else f"of at most {high}")
    words += [f"above {m.gt}" for m in field.metadata if isinstance(m, Gt)]
    words += [f"below {m.lt}" for m in field.metadata if isinstance(m, Lt)]
    return " and ".join(words)


def expected(field: FieldInfo) -> str | None:
    """Return what a plain field takes: `integer from 1 to 1024`; None when it is not that plain."""
    kinds = alternatives(field.annotation)
    if len(kinds) != 1:
        return None
    kind = kinds[0]
    if get_origin(kind) is Literal:
        return either([f'"{one}"' for one in get_args(kind)])
    noun = _NOUNS.get(kind)
    if noun is None:
        return None
    pattern = next((p for m in field.metadata if (p := getattr(m, "pattern", None))), None)
    if pattern is not None:
        return f"{noun} matching {pattern}"
    return f"{noun} {bounds(field)}".rstrip()


def either(words: list[str]) -> str:
    """Join alternatives: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))

"""Walks the fields of pydantic models, and puts in words what a field takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from host.settings.places import alternatives, fields_of, is_table, key_of
from host.settings.toml_lines import Path
from host.settings.toml_values import write

_NOUNS = {int: "integer", float: "number", bool: "true or false", str: "string"}


def leaves(model: type, prefix: Path = ()) -> Iterator[tuple[Path, FieldInfo]]:
    """Yield every field that is no section, with its path, in order of declaration."""
    for name, field in fields_of(model).items():
        path = (*prefix, *key_of(model, name))
        inner = _section(field)
        if inner is None:
            yield path, field
        else:
            yield from leaves(inner, path)


def sections(model: type) -> dict[str, type]:
    """Return the fields of `model` that are tables with a model of their own."""
    found = {name: _section(field) for name, field in fields_of(model).items()}
    return {name: inner for name, inner in found.items() if inner is not None}


def is_section(field: FieldInfo) -> bool:
    """Tell whether the field is one table with a model, not a list or a mapping of such tables."""
    return _section(field) is not None


def _section(field: FieldInfo) -> type | None:
    kinds = alternatives(field.annotation)
    # Of several tables it is not known which it will be; and a table may hold itself.
    return kinds[0] if len(kinds) == 1 and is_table(kinds[0]) else None


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
        return either([write(one) for one in get_args(kind)])
    noun = _NOUNS.get(kind)
    if noun is None:
        return None
    pattern = next((p for m in field.metadata if (p := getattr(m, "pattern", None))), None)
    if pattern is not None:
        return noun + such(field) if field.examples else f"{noun} matching {pattern}"
    return f"{noun} {bounds(field)}".rstrip()


def such(field: FieldInfo) -> str:
    """Return the first example of a field as the end of a sentence about it; "" without any."""
    return f" such as {write(field.examples[0])}" if field.examples else ""


def either(words: list[str]) -> str:
    """Join alternatives: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))

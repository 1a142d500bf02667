"""Words the errors of pydantic: one problem for each value that is wrong, with its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from host.settings.errors import Problem
from host.settings.fields import either, expected, such
from host.settings.keys import join
from host.settings.origins import locate
from host.settings.places import (
    Place,
    alternatives,
    below,
    field_at,
    is_mapping,
    is_table,
    keys_of,
    tables_at,
)
from host.settings.problems import Scope
from host.settings.toml_lines import Path

# Errors that say "not the type or range of this field"; the field itself can then be put in words.
_PLAIN = frozenset(
    {
        "bool_parsing",
        "bool_type",
        "float_parsing",
        "float_type",
        "greater_than",
        "greater_than_equal",
        "int_from_float",
        "int_parsing",
        "int_parsing_size",
        "int_type",
        "less_than",
        "less_than_equal",
        "literal_error",
        "string_pattern_mismatch",
        "string_type",
    }
)
_WORDS = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "dict_type": "expected table",
    "finite_number": "expected finite number",
    "float_parsing": "expected number",
    "float_type": "expected number",
    "int_from_float": "expected integer",
    "int_parsing": "expected integer",
    "int_type": "expected integer",
    "list_type": "expected list",
    "model_type": "expected table",
    "string_type": "expected string",
    "tuple_type": "expected list",
}


def explain(error: ValidationError, table: object, scope: Scope) -> list[Problem]:
    """Return the problems in an error of pydantic, one for each value that is wrong."""
    found: dict[Path, _Finding] = {}
    details = error.errors(include_url=False)
    for detail in _likeliest(details, table, scope.model):
        path, value = follow(detail, table, scope.model)
        finding = found.setdefault(path, _Finding(value, missing=detail["type"] == "missing"))
        finding.other = detail.get("ctx", {}).get("other", "")
        message = _message(detail, path, scope)
        if message not in finding.messages:
            finding.messages.append(message)
    return [_report(path, finding, scope) for path, finding in found.items()]


def _likeliest(
    details: Sequence[ErrorDetails], table: object, model: type
) -> Iterable[ErrorDetails]:
    """Leave out what members of a union say that the value was not meant to be.

    Of a table, the member that has the fewest complaints is meant; pydantic tells those of all.
    """
    members: dict[Path, dict[object, list[ErrorDetails]]] = {}
    left_out = []
    for detail in details:
        if union := _union(detail["loc"], table, model):
            path, member, is_meant = union
            if is_meant:
                members.setdefault(path, {}).setdefault(member, []).append(detail)
            else:
                left_out.append(detail)
    for by_member in members.values():
        fewest = min(map(len, by_member.values()))
        plain = [len(each) == 1 and not _inside(each[0]) for each in by_member.values()]
        for complaints, is_plain in zip(by_member.values(), plain, strict=True):
            if len(complaints) > fewest or (is_plain and not all(plain)):
                left_out += complaints
    return [detail for detail in details if not any(detail is each for each in left_out)]


def _inside(detail: ErrorDetails) -> bool:
    """Tell whether an error is about something inside a table, not that there is one."""
    return not detail["type"].endswith("_type") or isinstance(detail["loc"][-1], int)


def _union(
    loc: tuple[int | str, ...], table: object, model: type
) -> tuple[Path, object, bool] | None:
    """Return the place of the first table in a location that may be one of several.

    With it come the member of the union that complains, and whether it may be the one that is
    meant: another may have the text that is in a key, such as its discriminator.
    """
    path: Path = ()
    places = [Place(model)]
    for part in loc:
        kinds = [kind for place in places for kind in alternatives(place.annotation)]
        if len(kinds) > 1 and isinstance(table, dict):
            fitting = tables_at(places, table)
            meant = any(_is_member(kind, part) for kind in fitting)
            return path, part, meant or not fitting
        if not _holds(table, part):
            return None
        table, path = table[part], (*path, part)  # type: ignore[index]
        places = [one for place in places for one in below(place, part)]
    return None


def _holds(table: object, part: str | int) -> bool:
    if isinstance(table, list):
        return isinstance(part, int) and part < len(table)
    return isinstance(table, dict) and part in table


@dataclass(eq=False)
class _Finding:
    value: object
    missing: bool
    other: str = ""
    messages: list[str] = field(default_factory=list)


def _report(path: Path, finding: _Finding, scope: Scope) -> Problem:
    # Members of a union each say what they expected.
    message = either(finding.messages)
    if all(one.startswith("expected ") for one in finding.messages):
        message = f"expected {either([one.removeprefix('expected ') for one in finding.messages])}"
    if finding.missing:
        # Only an element of a list can have a place when the key has none.
        inside_list = len(path) > 1 and isinstance(path[-2], int)
        section = f"in [{join(scope.prefix)}]" if scope.prefix else ""
        return Problem(join(path), "", message, scope.where(path[:-1]) if inside_list else section)
    if not path:
        return Problem(join(scope.prefix), "", message, scope.where(path))
    problem = scope.problem(path, finding.value, message)
    if finding.other and join(path) not in scope.origins:
        # Nobody set this value; the one it does not fit was set.
        origin = locate(scope.origins, tuple(finding.other.split(".")))
        return problem._replace(where=f"default, {finding.other} from {origin}")
    return problem


def follow(detail: ErrorDetails, table: object, model: type) -> tuple[Path, object]:
    """Follow a location in the data as far as it goes.

    In a union pydantic puts in the name of the member that complains; keys may have its name, too.
    """
    path: Path = ()
    places, label = [Place(model)], False
    last = len(detail["loc"]) - 1
    for position, part in enumerate(detail["loc"]):
        kinds = [kind for place in places for kind in alternatives(place.annotation)]
        if len(kinds) > 1 and not label:
            label = True
            places = [Place(kind) for kind in kinds if _is_member(kind, part)] or places
        elif _holds(table, part):
            label = False
            table, path = table[part], (*path, part)  # type: ignore[index]
            places = [one for place in places for one in below(place, part)]
        elif position == last:
            # The key is absent: required, or invalid only together with one that is there.
            known = any(True for place in places for _ in below(place, part))
            if detail["type"] == "missing" or known:
                return (*path, part), detail["input"]
    return path, table


def _is_member(kind: Any, label: str | int) -> bool:
    """Tell whether pydantic calls a member of a union so: by its name, or by its discriminator."""
    if getattr(kind, "__name__", None) == label:
        return True
    words = [
        getattr(word, "value", word)
        for places in (keys_of(kind).values() if is_table(kind) else ())
        for place in places
        if get_origin(place.annotation) is Literal
        for word in get_args(place.annotation)
    ]
    return label in words


def _message(detail: ErrorDetails, path: Path, scope: Scope) -> str:
    kind = detail["type"]
    described = field_at(scope.model, path)
    words = expected(described) if described is not None else None
    example = such(described) if described is not None else ""
    if kind == "missing":
        words = words or (f"value{example}" if example else None)
        return f"missing, expected {words}" if words else "missing"
    if kind in _PLAIN and words:
        return f"expected {words}"
    if kind == "literal_error":
        return f"expected {detail['ctx']['expected']}".replace("'", '"')
    parent = field_at(scope.model, path[:-1])
    if kind == "model_type" and parent is not None and is_mapping(parent.annotation):
        return f"expected table, as [{join((*scope.prefix, *path[:-1]))}.NAME]"
    if kind in _WORDS:
        return _WORDS[kind] + example
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:]

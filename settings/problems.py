"""Compares tables with the models that describe them, and words what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from host.settings.address import EXAMPLE, PARTS_OF_AN_ADDRESS
from host.settings.errors import MASK, Problem, show
from host.settings.fields import (
    either,
    expected,
    field_at,
    holds_secret,
    is_mapping,
    join,
    leaves,
    model_in,
    named,
    sections,
)
from host.settings.origins import Origin, locate
from host.settings.suggestions import nearest
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


class Scope(NamedTuple):
    """What a check needs to know of the table it looks at.

    Attributes:
        model: The model of the table.
        origins: Where its values came from, by dotted key from the root of all settings.
        prefix: The path of the table from that root; problems name keys from the table on.
    """

    model: type[BaseModel]
    origins: Mapping[str, Origin]
    prefix: Path = ()

    def problem(self, path: Path, value: object, message: str, *, secret: bool = False) -> Problem:
        """Make the problem of the value at `path`."""
        if secret or self.secret(path):
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
    return _Sieve(scope, problems).table(table, scope.model, ())


class _Sieve(NamedTuple):
    scope: Scope
    problems: list[Problem]

    def table(self, table: Mapping[str, Any], model: type[BaseModel], path: Path) -> dict[str, Any]:
        fields = named(model)
        # An author who allows extras wants keys that only the operator knows.
        free = model.model_config.get("extra") == "allow"
        kept: dict[str, Any] = {}
        for key, value in table.items():
            if key in fields:
                kept[key] = self._value(value, fields[key], (*path, key))
            elif free:
                kept[key] = value
            else:
                self.problems.append(_unknown(key, value, model, path, self.scope))
        return kept

    def _value(self, value: Any, described: FieldInfo, path: Path) -> Any:
        inner = model_in(described.annotation)
        if inner is None:
            return value
        if isinstance(value, list):
            return [self._item(item, inner, (*path, i)) for i, item in enumerate(value)]
        if isinstance(value, dict) and is_mapping(described):
            return {name: self._item(item, inner, (*path, name)) for name, item in value.items()}
        return self._item(value, inner, path)

    def _item(self, item: Any, model: type[BaseModel], path: Path) -> Any:
        return self.table(item, model, path) if isinstance(item, dict) else item


def _unknown(key: str, value: object, model: type[BaseModel], path: Path, scope: Scope) -> Problem:
    here = (*path, key)
    fields = named(model)
    if isinstance(value, dict) and model is scope.model and not scope.prefix:
        known = [*sections(model), "options"]
        guess = nearest(key, known)
        hint = f"did you mean [{guess}]?" if guess else f"sections: {_list(known, '[{}]')}"
        return Problem(join(here), "", f"unknown section, {hint}", scope.where(here))
    guess = nearest(key, fields)
    secret = guess is not None and scope.secret((*path, guess))
    message = f"unknown key, {_advice(key, guess, here, fields, scope)}"
    return scope.problem(here, value, message, secret=secret)


def _advice(key: str, guess: str | None, here: Path, fields: Iterable[str], scope: Scope) -> str:
    if (place := _belongs(key, here, scope)) is not None:
        return place
    if guess is not None:
        return f'did you mean "{guess}"?'
    if key in PARTS_OF_AN_ADDRESS:
        return f'a whole address is set with listen = ["{EXAMPLE}"]'
    elsewhere = {str(path[-1]): join(path) for path, _ in leaves(scope.model)}
    if (far := nearest(key, elsewhere)) is not None:
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


def _list(words: Iterable[str], form: str) -> str:
    return ", ".join(map(form.format, words)) or "none"


def explain(error: ValidationError, table: object, scope: Scope) -> list[Problem]:
    """Return the problems in an error of pydantic, one for each value that is wrong."""
    found: dict[Path, _Finding] = {}
    for detail in error.errors(include_url=False):
        path, value = follow(detail, table, scope.model)
        finding = found.setdefault(path, _Finding(value, missing=detail["type"] == "missing"))
        finding.other = detail.get("ctx", {}).get("other", "")
        message = _message(detail, path, scope.model)
        if message not in finding.messages:
            finding.messages.append(message)
    return [_report(path, finding, scope) for path, finding in found.items()]


@dataclass
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


def follow(detail: ErrorDetails, table: object, model: type[BaseModel]) -> tuple[Path, object]:
    """Follow a location in the data as far as it goes: pydantic adds the names of union members."""
    path: Path = ()
    for part in detail["loc"]:
        listed = isinstance(table, list) and isinstance(part, int) and part < len(table)
        if listed or (isinstance(table, dict) and part in table):
            table = table[part]  # type: ignore[index]
        else:
            # The key is absent: required, or invalid only together with one that is there.
            absent = detail["type"] == "missing" or field_at(model, (*path, part)) is not None
            if absent and part == detail["loc"][-1]:
                return (*path, part), detail["input"]
            break
        path = (*path, part)
    return path, table


def _message(detail: ErrorDetails, path: Path, model: type[BaseModel]) -> str:
    kind = detail["type"]
    described = field_at(model, path)
    words = expected(described) if described is not None else None
    if kind == "missing":
        return f"missing, expected {words}" if words else "missing"
    if kind in _PLAIN and words:
        return f"expected {words}"
    if kind == "literal_error":
        return f"expected {detail['ctx']['expected']}".replace("'", '"')
    if kind in _WORDS:
        return _WORDS[kind]
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:]

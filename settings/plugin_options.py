"""Validates the options of a plugin against the plugin's own model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from host.settings.errors import MASK, Problem, SettingsError, is_secret_name, passwords_in
from host.settings.explanations import explain
from host.settings.keys import join
from host.settings.loading import Loaded
from host.settings.origins import Layer, Origin
from host.settings.parsing import parse_option
from host.settings.places import (
    Place,
    alternatives,
    at,
    below,
    fields_of,
    holds_secret,
    is_table,
    keys_of,
    spellings,
)
from host.settings.problems import Scope, drop_unknown, ignored
from host.settings.toml_lines import Path
from host.settings.variables import fold

Model = TypeVar("Model")

_STRENGTH = ("default", "preset", "file", "environment", "flag")
# Shorter texts are in many a word, and are masked only where they are a word of their own.
_SHORTEST_TOLD = 4


class Section(NamedTuple):
    """The section `[options.NAME]`, with the keys that the plugin's model has.

    Attributes:
        table: Its values.
        origins: Where they came from, by dotted key from the root of all settings.
        problems: What is wrong with the keys.
    """

    table: dict[str, Any]
    origins: Mapping[str, Origin]
    problems: list[Problem]


def assign_sections(loaded: Loaded, names: list[str]) -> Loaded:
    """Give the sections that variables made the names of the plugins that they belong to.

    A variable says `SHOUT` of the plugin `Shout`, and `PK_MOD_CHAT` of `pk.mod:Chat`.

    Args:
        loaded: The settings.
        names: The plugins that are selected.
    """
    layer = Layer()
    for path, value in _leaves(dict(loaded.settings.options), ("options",)):
        origin = loaded.origin(join(path))
        there = path
        if origin.kind == "environment":
            found, rest = _longest(names, "__".join(map(str, path[1:])))
            if found is not None:
                there = ("options", found, *rest.split("__"))
        _move(loaded, layer, path, there, value)
    others = {k: o for k, o in loaded.origins.items() if not k.startswith("options.")}
    settings = loaded.settings.model_copy(update={"options": layer.table.get("options", {})})
    origins = MappingProxyType({**others, **layer.origins})
    return replace(loaded, settings=settings, origins=origins, texts=MappingProxyType(layer.texts))


def _longest(names: list[str], text: str) -> tuple[str | None, str]:
    """Return which name a variable's text begins with, and what comes after it."""
    text = fold(text)
    fitting = [name for name in names if text.startswith(f"{fold(name)}__")]
    if not fitting:
        return None, text
    name = max(fitting, key=len)
    return name, text[len(fold(name)) + 2 :].lower()


def _move(loaded: Loaded, layer: Layer, path: Path, there: Path, value: object) -> None:
    """Put a value into `layer` at another path, with its origins."""
    key = join(path)
    layer.put(there, value, loaded.origin(key))
    for known, origin in loaded.origins.items():
        if known.startswith((f"{key}.", f"{key}[")):
            layer.origins[join(there) + known[len(key) :]] = origin
    if not loaded.is_default(key):
        layer.origins[join(there)] = loaded.origin(key)
    if key in loaded.texts:
        layer.texts[join(there)] = loaded.texts[key]


def _leaves(table: Mapping[str, Any], prefix: Path) -> Iterator[tuple[Path, object]]:
    """Yield all that is no table, or an empty one."""
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def gather(name: str, model: type, loaded: Loaded) -> Section:
    """Return the section of a plugin, now that its model is known.

    Only the model tells how the key of a variable is written, which of a field's aliases say the
    same, and what type a text stands for. Of several aliases the strongest source counts.
    """
    prefix = ("options", name)
    layer, problems = Layer(), []
    chosen: dict[tuple[Path, str], tuple[Path, Origin]] = {}
    found = []
    for path, value in _leaves(loaded.settings.options.get(name, {}), prefix):
        origin = loaded.origin(join(path))
        rest = path[2:]
        if origin.kind == "environment":
            rest = _spelled(model, rest, loaded.settings.options[name])
        found.append((_STRENGTH.index(origin.kind), path, rest, value, origin))
    found.sort(key=lambda each: each[0], reverse=True)
    moves = []
    for _, path, rest, value, origin in found:
        there: Path = ()
        for position, part in enumerate(rest):
            field = _alias(model, there, part)
            before = chosen.setdefault((there, field), ((part,), origin)) if field else None
            if before and before[0] != (part,) and before[1].kind == origin.kind:
                message = f'says the same as "{join(before[0])}", which is set as well'
                shown = (*rest[: position + 1],)
                problems.append(Problem(join(shown), "", message, f"from {origin}"))
            there = (*there, *(before[0] if before else (part,)))
        moves.append((path, there, value))
    for path, there, value in reversed(moves):
        full = (*prefix, *there)
        if join(path) in loaded.texts and isinstance(value, str):
            layer.put(full, parse_option(at(model, there), value), loaded.origin(join(path)))
        else:
            _move(loaded, layer, path, full, value)
    table = layer.table.get("options", {}).get(name, {})
    return Section(table, layer.origins, list(dict.fromkeys(problems)))


def _alias(model: type, path: Path, part: str | int) -> str | None:
    """Return the name of the field that has more than one key, this among them."""
    for place in at(model, path):
        for kind in alternatives(place.annotation):
            for name in fields_of(kind) if is_table(kind) else ():
                ways = spellings(kind, name)
                if len(ways) > 1 and (part,) in ways:
                    return name
    return None


def _spelled(model: type, path: Path, table: Mapping[str, Any]) -> Path:
    """Return the path that a variable means: its name has only capitals and underscores."""
    text = "__".join(map(str, path))
    found: Path = ()
    places, inner = [Place(model)], dict(table)
    while text:
        keys = [
            key
            for place in places
            for kind in alternatives(place.annotation)
            if is_table(kind)
            for key in keys_of(kind)
        ]
        if not keys:
            keys = [key for key in inner if key != text.partition("__")[0]]
        folded = fold(text)
        fitting = [key for key in keys if f"{folded}__".startswith(f"{fold(key)}__")]
        key = max(fitting, key=len) if fitting else text.partition("__")[0] or text
        text = text[len(fold(key)) + 2 :]
        found = (*found, key)
        places = [one for place in places for one in below(place, key)]
        following = inner.get(key)
        inner = following if isinstance(following, dict) else {}
    return found


def same_variable(model: type) -> tuple[str, str] | None:
    """Return two keys of one table that the same variable would set, or None."""
    tables, seen = [model], set()
    while tables:
        kind = tables.pop()
        if kind in seen:
            continue
        seen.add(kind)
        by_variable: dict[str, str] = {}
        for key, places in keys_of(kind).items():
            other = by_variable.setdefault(fold(key), key)
            if other != key and _alias(kind, (), other) != _alias(kind, (), key):
                return other, key
            if other != key and _alias(kind, (), key) is None:
                return other, key
            tables += [
                one for place in places for one in alternatives(place.annotation) if is_table(one)
            ]
    return None


def validate_options(name: str, model: type[Model], loaded: Loaded) -> Model:
    """Validate the section `[options.NAME]` and return it as an instance of `model`.

    Unknown keys are refused even where the model ignores them, since a typo would pass in silence;
    a model that says `extra="allow"` gets them.

    Args:
        name: The plugin.
        model: A pydantic model or a dataclass.
        loaded: The settings.

    Raises:
        SettingsError: With everything that is wrong; keys are named from the section on.
    """
    section = gather(name, model, loaded)
    problems = section.problems
    scope = Scope(model, section.origins, ("options", name))
    table = drop_unknown(section.table, scope, problems)
    options: Model | None = None
    try:
        options = TypeAdapter(model).validate_python(table)
        problems += ignored(options, table, scope)
    except ValidationError as error:
        problems += explain(error, table, scope)
    if problems or options is None:
        scrub = scrubber(model, section.table)
        told = [problem._replace(message=scrub(problem.message)) for problem in problems]
        raise SettingsError(told, f'settings of plugin "{name}"')
    return options


def mask_secrets(text: str, name: str, model: type, loaded: Loaded) -> str:
    """Return a text that a plugin may have put its options into, with their secrets masked."""
    return scrubber(model, gather(name, model, loaded).table)(text)


def scrubber(model: type, table: Mapping[str, Any]) -> Callable[[str], str]:
    """Return a function that masks the secrets of a section in any text.

    What a plugin's own checks say may hold a secret, also one of another key.

    Args:
        model: The model of the section.
        table: Its values.
    """
    texts = set(_secrets(model, table, ()))
    texts |= {repr(text)[1:-1] for text in texts} | {join(("", text))[4:-1] for text in texts}
    masked = [
        re.escape(text) if len(text) >= _SHORTEST_TOLD else rf"(?<!\w){re.escape(text)}(?!\w)"
        for text in sorted(texts, key=len, reverse=True)
        if text
    ]
    pattern = re.compile("|".join(masked)) if masked else None
    return lambda text: pattern.sub(MASK, text) if pattern else text


def _secrets(model: type, value: object, path: Path) -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _secrets(model, inner, (*path, str(key)))
        case list() | tuple():
            for index, inner in enumerate(value):
                yield from _secrets(model, inner, (*path, index))
        case bool() | None:
            return
        case _:
            text = str(value)
            hidden = holds_secret(model, path) or any(
                is_secret_name(part) for part in path if isinstance(part, str)
            )
            yield from [text] if hidden else passwords_in(text)

"""Reads the sources of settings: preset, file, environment and flags.

How variables are named and nested is pydantic-settings'. Its TOML source is not used: it passes
over a file that is missing, and keeps no text in which to find the line of a key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any, Literal

from host.settings import toml_lines
from host.settings.address import EXAMPLE, PARTS_OF_AN_ADDRESS
from host.settings.errors import MASK, Problem, is_secret_name, show
from host.settings.fields import sections
from host.settings.keys import join, split
from host.settings.models import Settings
from host.settings.origins import Layer, Origin, locate, values
from host.settings.parsing import parse
from host.settings.suggestions import nearest
from host.settings.variables import CONFIG, PREFIX, PRESET, is_of_named, is_of_service, variables

Flags = Mapping[str, tuple[object, str]]

_PRESETS = FilePath(__file__).parent / "presets"
_MOST_BYTES = 1 << 20
_MOST_DEEP = 32
_TOO_DEEP = f"is nested too deeply: settings are at most {_MOST_DEEP} levels deep"
_TOML_POSITION = r" \(at (?:line (\d+), column (\d+)|end of document)\)$"


def preset_names() -> list[str]:
    """Return the names of the presets that come with the host."""
    return sorted(path.stem for path in _PRESETS.glob("*.toml"))


def read_preset(name: str, where: str, problems: list[Problem]) -> Layer:
    """Read a preset; one that does not exist adds to `problems`."""
    known = preset_names()
    if name not in known:
        guess = nearest(name, known)
        hint = f', did you mean "{guess}"?' if guess else ""
        message = f"no such preset{hint}  presets: {', '.join(known)}"
        problems.append(Problem("preset", show(name), message, where))
        return Layer()
    return read_file(_PRESETS / f"{name}.toml", where, problems, kind="preset")


def read_file(
    path: FilePath,
    where: str,
    problems: list[Problem],
    kind: Literal["preset", "file"] = "file",
) -> Layer:
    """Read a TOML file; one that cannot be read adds to `problems`.

    Args:
        path: The file.
        where: Who named the file, for the problem that it is missing.
        problems: Is added to.
        kind: What the origins of its values say.
    """
    shown = path.name if kind == "preset" else str(path)
    try:
        text = _read(path).decode("utf-8-sig")  # some editors put a byte order mark first
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        problems.append(Problem(f"{shown}:{line}", "", f"not UTF-8 text: byte 0x{byte:02x}", where))
        return Layer()
    except (OSError, ValueError) as error:
        problems.append(Problem(shown, "", _unreadable(error), where))
        return Layer()
    parsed = _parse(shown, text, where)
    if isinstance(parsed, Problem):
        problems.append(parsed)
        return Layer()
    table, found = parsed
    suffix = " (preset)" if kind == "preset" else ""
    layer = Layer(table)
    for key_path, line in found.items():
        layer.origins[join(key_path)] = Origin(kind, f"{shown}:{line}{suffix}")
    for key_path, value in values(table, ()):
        if (key := join(key_path)) not in layer.origins:
            has_more = isinstance(value, dict | list)
            place = key_path if has_more else key_path[:-1]  # to look in what has nothing in it
            layer.origins[key] = locate(layer.origins, place)
    return layer


def _parse(
    shown: str, text: str, where: str
) -> tuple[dict[str, Any], dict[toml_lines.Path, int]] | Problem:
    """Return the table of a TOML text, and the line of each key; or what is wrong with it."""
    try:
        table, found = tomllib.loads(text), toml_lines.find(text)
    except tomllib.TOMLDecodeError as error:
        return _bad_toml(shown, text, str(error))
    except RecursionError:
        return Problem(shown, "", _TOO_DEEP, where)
    except ValueError as error:  # a number with more digits than Python takes
        return Problem(shown, "", f"cannot be read: {error}", where)
    if any(len(path) > _MOST_DEEP for path in found):
        return Problem(shown, "", _TOO_DEEP, where)
    return table, found


def _read(path: FilePath) -> bytes:
    """Read a file of settings.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no path, or far too large for settings.
    """
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB, which settings never are")
    return data


def _unreadable(error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return "no such file"
        case IsADirectoryError():
            return "is a directory, expected a TOML file"
        case OSError(strerror=str(reason)):
            return f"cannot be read: {reason.lower()}"
        case _:
            return f"cannot be read: {error}"


def _bad_toml(shown: str, text: str, message: str) -> Problem:
    place = f"{shown}:{text.count(chr(10)) + 1}:1"
    if position := re.search(_TOML_POSITION, message):
        message = message[: position.start()]
        if position[1]:
            place = f"{shown}:{position[1]}:{position[2]}"
        else:
            last = text.rpartition("\n")[2]
            place = f"{shown}:{text.count(chr(10)) + 1}:{len(last) + 1}"
            message += " at the end of the file"
    return Problem(place, "", f"not TOML: {message[:1].lower()}{message[1:]}", "")


def read_environment(environ: Mapping[str, str], problems: list[Problem]) -> Layer:
    """Read the variables that begin with PREFORK_; each that sets nothing adds to `problems`.

    One that is empty counts as unset, as elsewhere (decision 44).
    """
    known = variables()
    names: dict[str, str] = {}
    for name in sorted(n for n in environ if n.startswith(PREFIX) and environ[n]):
        if name in known or is_of_named(name):
            names[join(tuple(name.removeprefix(PREFIX).lower().split("__")))] = name
        elif name not in (CONFIG, PRESET) and not is_of_service(name, environ[name]):
            problems.append(_unknown_variable(name, environ[name], known))
    layer = Layer()
    if not names:
        return layer
    # Imported only if there are variables: pydantic-settings would add 31 ms to each start.
    from host.settings.environment import nest  # noqa: PLC0415

    nested = nest(PREFIX, {name: environ[name] for name in names.values()})
    for path, text in values(nested, ()):
        name = names.pop(join(path))
        _put(layer, path, text, Origin("environment", f"{name} (environment)"), problems)
    for key, name in names.items():
        other = next(n for n in environ if name.startswith(f"{n}__"))
        message = f"{other} already sets what this is a part of"
        problems.append(Problem(key, "", message, f"from {name} (environment)"))
    return layer


def _unknown_variable(name: str, value: str, known: Mapping[str, str]) -> Problem:
    key = name.removeprefix(PREFIX).lower().replace("__", ".")
    head, *rest = name.removeprefix(PREFIX).split("__")
    # What may have been meant for an option may be a secret whose name says nothing here.
    of_option = nearest(head, ["OPTIONS"]) or len(rest) > 1
    found = MASK if of_option or is_secret_name(key) else show(value)
    if head == "OPTIONS":
        message = f"options are set one by one: {PREFIX}OPTIONS__PLUGIN__KEY"
    elif head.lower() in sections(Settings) and not rest:
        message = f"sections are set key by key: {PREFIX}{head}__KEY"
    elif key in PARTS_OF_AN_ADDRESS:
        message = f"unknown variable, an address is set with {PREFIX}LISTEN={EXAMPLE} (--listen)"
    else:
        # A variable without its section is a likelier slip than anything spelling can find.
        ending = (n for n in known if not rest and n.endswith(f"__{head.upper()}"))
        guess = next(ending, None) or _nearest_variable(name, [*known, CONFIG, PRESET])
        hint = f", did you mean {guess}?" if guess else ""
        message = f"unknown variable{hint}"
    return Problem(key, found, message, f"from {name} (environment)")


def _nearest_variable(name: str, known: Iterable[str]) -> str | None:
    """Compare without the prefix: what all have in common says nothing."""
    by_rest = {each.removeprefix(PREFIX): each for each in known}
    found = nearest(name.removeprefix(PREFIX), by_rest)
    return by_rest[found] if found else None


def read_flags(flags: Flags, problems: list[Problem]) -> Layer:
    """Read flags, given as dotted key → (value, text of the flag); add to `problems`."""
    layer = Layer()
    for key, (value, text) in flags.items():
        # The value is shown beside its key where it may be; here it could be a secret.
        shown = text.removesuffix(f"={value}") if isinstance(value, str) else text
        origin = Origin("flag", f"{shown} (flag)")
        path = split(key)
        if path is None:
            message = "expected a key as in TOML, with names of dots or colons in quotes"
            problems.append(Problem(key, "", message, f"from {origin}"))
        else:
            _put(layer, path, value, origin, problems)
    return layer


def _put(
    layer: Layer, path: toml_lines.Path, value: object, origin: Origin, problems: list[Problem]
) -> None:
    """Set a value; text that is no text, such as a path in Latin-1, adds to `problems` instead."""
    if not all(map(_is_utf8, value if isinstance(value, list) else [value])):
        problems.append(Problem(join(path), "", "is not UTF-8 text", f"from {origin}"))
        return
    if isinstance(value, str):
        if path[0] == "options":
            layer.texts[join(path)] = value
        value = parse(path, value)
    layer.put(path, value, origin)


def _is_utf8(value: object) -> bool:
    """Tell whether a value is UTF-8 if it is text: other bytes are surrogates (PEP 383)."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True

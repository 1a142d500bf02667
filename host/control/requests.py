"""Reads requests to a running host, and checks them against the table of commands."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from host.control.commands import COMMANDS, Argument, Command, CommandError, shown
from host.control.wire import VERSION
from host.settings import nearest

_KEYS = ("v", "id", "command", "args", "next")


def read_request(line: bytes) -> dict[str, Any]:
    """Return the JSON object in a line.

    Raises:
        CommandError: there is none.
    """
    try:
        request = json.loads(line, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise CommandError(
            "that is no request: expected a JSON object in one line, such as "
            f'{{"v": {VERSION}, "command": "status"}}'
        )
    return request


def _finite(text: str) -> float:
    """Return a number that JSON can say: 1e999 would come back as Infinity (RFC 8259, 6)."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


def parse_request(request: Mapping[str, Any]) -> tuple[Command, dict[str, Any]] | int:
    """Check a request; return its command with all arguments of that, or the page it asks for.

    Raises:
        CommandError: what is wrong with it.
    """
    version = request.get("v")
    if type(version) is not int or version != VERSION:
        raise CommandError(
            f'expected "v": {VERSION}, the only version there is, not {shown(version)}'
        )
    for key in request:
        if key not in _KEYS:
            raise CommandError(unknown("key", key, _KEYS))
    if "next" in request:
        return _page(request)
    if "command" not in request:
        raise CommandError(f'a request needs a "command": {", ".join(COMMANDS)}')
    return parse(request["command"], request.get("args", {}))


def _page(request: Mapping[str, Any]) -> int:
    if "command" in request or "args" in request:
        raise CommandError('"next" asks for a page of the last response: it takes no command')
    page = request["next"]
    if type(page) is not int:
        raise CommandError(f'"next" must be the number in the last response, not {shown(page)}')
    return page


def parse(command: object, args: object) -> tuple[Command, dict[str, Any]]:
    """Check a command and its arguments; return it and all its arguments, defaults filled in.

    Raises:
        CommandError: what is wrong, and the nearest that would be right.
    """
    found = COMMANDS.get(command) if isinstance(command, str) else None
    if found is None:
        raise CommandError(unknown("command", command, COMMANDS))
    if not isinstance(args, dict):
        raise CommandError(f'"args" of {found.name} must be an object, not {shown(args)}')
    names = {argument.name: argument for argument in found.arguments}
    for name in args:
        if name not in names:
            raise CommandError(unknown(f"argument of {found.name}", name, names))
    return found, {name: _value(found, argument, args) for name, argument in names.items()}


def _value(command: Command, argument: Argument, args: Mapping[str, object]) -> Any:
    if argument.name not in args:
        if argument.required:
            raise CommandError(f'{command.name} needs "{argument.name}": {argument.expected}')
        return argument.default
    value = args[argument.name]
    if not argument.fits(value):
        raise CommandError(
            f'"{argument.name}" of {command.name} must be {argument.expected}, not {shown(value)}'
        )
    return value


def unknown(what: str, word: object, valid: Iterable[str]) -> str:
    """Return the message that a word is unknown, with the nearest valid one or all of them."""
    names = list(valid)
    meant = nearest(word, names) if isinstance(word, str) else None
    if meant is not None:
        return f'unknown {what} {shown(word)}, did you mean "{meant}"?'
    return f"unknown {what} {shown(word)}; there is: {', '.join(names) or 'none'}"

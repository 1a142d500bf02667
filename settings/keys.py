"""Writes and reads dotted keys as TOML has them: `options."pk.mod:Chat".level`, `listen[0]`."""

from __future__ import annotations

import json
import re
import tomllib

from host.settings.toml_lines import Path

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = r'"(?:\\.|[^"\\])*"|\'[^\']*\''
# Between dots, what is not quoted is taken as it is: an address in a key that is wrong has colons.
_PART = rf"\s*(?:{_STRING}|[^.\"'=]+)\s*"
_KEY = re.compile(rf"{_PART}(?:\.{_PART})*")
_PARTS = re.compile(rf"{_STRING}|[^.\"'=]+")


def join(path: Path) -> str:
    """Return the dotted key of a path; a part that is no bare key of TOML is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if _BARE.fullmatch(part) else quoted(part)
            text += f".{word}" if text else word
    return text


def quoted(text: str) -> str:
    """Return a text as a basic string of TOML.

    JSON's escapes are among TOML's, but JSON leaves DEL as it is, which TOML refuses.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def split(key: str) -> Path | None:
    """Return the path of a dotted key, or None if it has not that form."""
    if not _KEY.fullmatch(key):
        return None
    try:
        return tuple(_unquoted(part.strip()) for part in _PARTS.findall(key) if part.strip())
    except tomllib.TOMLDecodeError:
        return None


def _unquoted(part: str) -> str:
    if part[0] not in "\"'":
        return part
    text: str = tomllib.loads(f"text = {part}")["text"]
    return text


def assignment(text: str) -> tuple[str, str] | None:
    """Return key and value of `KEY=VALUE`, or None if that is not its form.

    An equals sign within a quoted part belongs to the key.
    """
    found = _KEY.match(text)
    if found is None or text[found.end() : found.end() + 1] != "=":
        return None
    return found.group(), text[found.end() + 1 :]

"""Finds the line of each key in a TOML text, which `tomllib` does not tell."""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def find(text: str) -> dict[Path, int]:
    """Return the line, counted from 1, on which each key and each element of a list begins.

    `text` must be valid TOML; the finder then need not diagnose anything, and is small for it.
    An element of a list has its index in its path: `("listen", 0, "address")`.
    """
    return _Finder(text).find()


class _Finder:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted_to = 0
        self._line = 1
        self._lines: dict[Path, int] = {}
        # How many [[tables]] of each path there are so far; later headers speak of the last one.
        self._tables: dict[Path, int] = {}

    def find(self) -> dict[Path, int]:
        prefix: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._take("[["):
                self._note_parents(path := self._resolve(self._key(), last=False))
                index = self._tables.get(path, 0)
                self._tables[path] = index + 1
                prefix = (*path, index)
                self._note(prefix)
                self._take("]]")
            elif self._take("["):
                prefix = self._resolve(self._key(), last=True)
                self._note_parents(prefix)
                self._take("]")
            else:
                self._pair(prefix)
            self._skip(_BLANK)
        return self._lines

    def _pair(self, prefix: Path) -> None:
        path = (*prefix, *self._key())
        self._note_parents(path)
        self._take("=")
        self._skip(_SPACES)
        self._value(path)

    def _key(self) -> Path:
        parts: list[str] = []
        while True:
            self._skip(_SPACES)
            if bare := _BARE_KEY.match(self._text, self._at):
                self._at = bare.end()
                parts.append(bare.group())
            else:
                parts.append(tomllib.loads(f"key = {self._skip(_STRING)}")["key"])
            self._skip(_SPACES)
            if not self._take("."):
                return tuple(parts)

    def _value(self, path: Path) -> None:
        if self._take("["):
            self._list(path)
        elif self._take("{"):
            self._table(path)
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _list(self, path: Path) -> None:
        index = 0
        self._skip(_BLANK)
        while not self._take("]"):
            self._note((*path, index))
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            self._take(",")
            self._skip(_BLANK)

    def _table(self, path: Path) -> None:
        self._skip(_BLANK)
        while not self._take("}"):
            self._pair(path)
            self._skip(_BLANK)
            self._take(",")
            self._skip(_BLANK)

    def _resolve(self, key: Path, *, last: bool) -> Path:
        path: Path = ()
        for position, part in enumerate(key, start=1):
            path = (*path, part)
            if path in self._tables and (last or position < len(key)):
                path = (*path, self._tables[path] - 1)
        return path

    def _note_parents(self, path: Path) -> None:
        for length in range(1, len(path) + 1):
            self._note(path[:length])

    def _note(self, path: Path) -> None:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        self._lines.setdefault(path, self._line)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()
            return found.group()
        return ""

    def _take(self, token: str) -> bool:
        if self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        return False

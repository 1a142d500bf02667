"""Where each value came from, and how values of several sources become one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from host.settings.address import split
from host.settings.keys import join
from host.settings.toml_lines import Path

Kind = Literal["default", "preset", "file", "environment", "flag"]


class Origin(NamedTuple):
    """Where a value came from.

    Attributes:
        kind: The source.
        text: The place for people: `host.toml:17`, `PREFORK_WORKERS (environment)`, `default`.
    """

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text


DEFAULT = Origin("default", "default")
_OPTION = len(("options", "NAME", "KEY"))


@dataclass(eq=False)
class Layer:
    """The values of one source, or of several merged.

    Attributes:
        table: The values, nested as in a file.
        origins: The origin of each value by dotted key.
        texts: The text, by dotted key, of option values that were parsed from text by guess.
    """

    table: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def put(self, path: Path, value: object, origin: Origin) -> None:
        """Set one value at a path of keys."""
        for below, _ in values(value, path):
            self.origins[join(below)] = origin
        for part in reversed(path[1:]):
            value = {part: value}
        merge(self.table, {str(path[0]): value})

    def add(self, stronger: Layer) -> None:
        """Let the values of `stronger` override these: tables merge, everything else replaces."""
        merge(self.table, stronger.table)
        for path in leaf_paths(stronger.table):
            self._forget(join(path))
        self.origins |= stronger.origins
        self.texts |= stronger.texts

    def _forget(self, key: str) -> None:
        for known in (self.origins, self.texts):
            for other in [k for k in known if k == key or k.startswith((f"{key}.", f"{key}["))]:
                del known[other]


def merge(weaker: dict[str, Any], stronger: dict[str, Any]) -> None:
    """Merge `stronger` into `weaker`, table by table."""
    for key, value in stronger.items():
        if isinstance(value, dict):
            below = weaker.get(key)
            weaker[key] = below = dict(below) if isinstance(below, dict) else {}
            merge(below, value)
        else:
            weaker[key] = value


def leaf_paths(table: dict[str, Any], prefix: Path = ()) -> Iterator[Path]:
    """Yield the path of everything in a table that replaces what a weaker source says."""
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from leaf_paths(value, (*prefix, key))
        elif not isinstance(value, dict):
            yield (*prefix, key)


def values(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    """Yield every value with its path, down to the keys of tables inside lists.

    The parts of `"ADDRESS=PLUGIN"` count as the keys they stand for, so that an address has an
    origin in whichever form it is written.
    """
    match value:
        # An option may be an empty table; a section that is empty sets nothing.
        case dict() if value or len(path) < _OPTION:
            for key, below in value.items():
                yield from values(below, (*path, key))
        case list() | tuple():
            yield path, value
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    yield from values(item, (*path, index))
                else:
                    yield (*path, index), item
                    if path == ("listen",) and isinstance(item, str):
                        address, plugin = split(item)
                        yield (*path, index, "address"), address
                        if plugin is not None:
                            yield (*path, index, "plugin"), plugin
        case _:
            yield path, value


def locate(origins: Mapping[str, Origin], path: Path) -> Origin:
    """Return the origin of a value, or of what is nearest: something in it, or what it is in."""
    for length in range(len(path), 0, -1):
        key = join(path[:length])
        if key in origins:
            return origins[key]
        if length == len(path):
            inside = (k for k in origins if k.startswith((f"{key}.", f"{key}[")))
            if (first := next(inside, None)) is not None:
                return origins[first]
    return DEFAULT

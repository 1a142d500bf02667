"""Finds a selected plugin: by entry point, by dotted name, or by file. Nothing is imported."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, EntryPoint, distribution, distributions
from pathlib import Path
from typing import NamedTuple

from host.errors import PluginError
from host.runtime.steps import Steps
from host.settings import nearest
from host.text import listed, suggest

GROUP = "host.plugins"
"""The entry-point group of plugins."""
_REFERENCE = re.compile(r"(?P<module>[\w.]+)\s*(:\s*(?P<attribute>[\w.]+)\s*)?(\[.*\]\s*)?")
"""An object reference (Python Packaging User Guide, "Entry points specification")."""


class Source(NamedTuple):
    """Where a selected plugin is to be found; nothing of it has been imported.

    Attributes:
        name: the plugin's name: what was selected, without folder and extension.
        module: the dotted name of its module, or "" for a file.
        attribute: the (dotted) name of its class in there, or "" for the module itself.
        path: its file as given, or None unless it was selected by file.
        distribution: the installed distribution that it belongs to, or None.
        version: that distribution's version, or None.
        entry: whether it was selected by the name of an entry point.
    """

    name: str
    module: str
    attribute: str
    path: Path | None = None
    distribution: str | None = None
    version: str | None = None
    entry: bool = False

    @property
    def target(self) -> str:
        """What is imported, in the form in which it could be selected."""
        holder = self.module
        if self.path:
            holder = str(self.path) if self.path.is_absolute() else f"./{self.path}"
        return f"{holder}:{self.attribute}" if self.attribute else holder

    @property
    def origin(self) -> str:
        """The words in which messages name it."""
        kind = "entry point" if self.entry else "file" if self.path else "module"
        found = f"{kind} {self.target}"
        if not self.distribution:
            return found
        return f"{self.distribution} {self.version or '(no version)'}, {found}"


def installed() -> Steps[tuple[EntryPoint, ...]]:
    """Return the entry points of all installed plugins, sorted by name; imports none.

    A step looks at one distribution. Of several with the same name the first on the path counts.
    """
    found = {}
    for each in distributions():
        yield
        if not each.entry_points.select(group=GROUP):
            continue
        name = _named(each)[0]
        first = each if name is None else distribution(name)
        for entry in first.entry_points.select(group=GROUP):
            found[entry.name, entry.value, belongs_to(entry)] = entry
    return tuple(found[key] for key in sorted(found, key=str))


def belongs_to(entry: EntryPoint) -> tuple[str | None, str | None]:
    """Return name and version of the distribution that an entry point belongs to."""
    return (None, None) if entry.dist is None else _named(entry.dist)


@functools.lru_cache(maxsize=64)
def _named(found: Distribution) -> tuple[str | None, str | None]:
    """Return name and version of a distribution; its metadata is read once for all its plugins."""
    metadata = found.metadata
    known = dict(metadata.items()) if hasattr(metadata, "items") else {}
    return known.get("Name"), known.get("Version")


def find(text: str, entries: Sequence[EntryPoint]) -> Steps[Source]:
    """Return where the plugin that is selected by `text` is to be found.

    A step looks at one distribution.

    Args:
        text: the name of an entry point, `package.module:Class`, or `./file.py`.
        entries: the installed entry points.

    Raises:
        PluginError: if there is no such thing, or two distributions offer it.
    """
    holder, colon, attribute = text.partition(":")
    if "/" in holder or holder.endswith(".py"):
        return _find_file(text, holder, attribute)
    matching = [entry for entry in entries if entry.name == text]
    if matching:
        return _find_entry(text, matching)
    if colon or "." in text:
        name, version = yield from _distribution_of(holder.partition(".")[0])
        return Source(text, holder, attribute, distribution=name, version=version)
    raise _unknown(text, entries)


def _find_file(text: str, holder: str, attribute: str) -> Source:
    path, origin = Path(holder), f"file {text}"
    name = f"{path.stem}:{attribute}" if attribute else path.stem
    try:
        path = path.expanduser()
    except RuntimeError:
        cause = f"the home of {path.parts[0]} is not known: there may be no such user"
        raise PluginError(name, cause, origin=origin, code="not-found") from None
    if path.is_dir():
        raise PluginError(name, "this is a folder, not a file", origin=origin, code="not-found")
    if path.is_file():
        return Source(name, "", attribute, path=path)
    if path.exists():
        raise PluginError(name, "this is no regular file", origin=origin, code="not-found")
    beside = sorted(path.parent.glob("*.py")) if path.parent.is_dir() else []
    near = nearest(path.name, [each.name for each in beside])
    if not path.parent.is_dir():
        cause = f"there is no folder {path.parent}"
    else:
        cause = f"there is no file {path.name} in {_resolved(path.parent)}"
    raise PluginError(name, f"{cause}{suggest(near)}", origin=origin, code="not-found")


def _resolved(folder: Path) -> str:
    try:
        return str(folder.resolve())
    except FileNotFoundError:  # getcwd(2): the working directory itself has been removed
        return f"{folder}: the working directory has been removed"


def _find_entry(text: str, matching: Sequence[EntryPoint]) -> Source:
    if len(matching) > 1:
        offers = [f"{' '.join(filter(None, belongs_to(e)))} ({e.value})" for e in matching]
        raise PluginError(
            text,
            f'{len(matching)} installed distributions offer a plugin "{text}": {listed(offers)}',
            hint="Uninstall one of them, or select it as package.module:Class.",
            code="ambiguous",
        )
    return locate_entry(matching[0])


def locate_entry(entry: EntryPoint) -> Source:
    """Return where an entry point's plugin is to be found.

    Raises:
        PluginError: if the distribution's metadata is broken.
    """
    name, version = belongs_to(entry)
    # What importlib.metadata raises for a value that it cannot parse depends on its version.
    match = _REFERENCE.fullmatch(entry.value)
    if match is None:
        raise PluginError(
            entry.name,
            f'the entry point\'s value "{entry.value}" is not of the form module:Class',
            origin=f"{name} {version}",
            code="not-found",
        )
    module, attribute = match["module"], match["attribute"] or ""
    return Source(entry.name, module, attribute, distribution=name, version=version, entry=True)


def _unknown(text: str, entries: Iterable[EntryPoint]) -> PluginError:
    names = sorted({entry.name for entry in entries})
    cause = f'no plugin "{text}" is installed{suggest(nearest(text, names))}'
    file = Path(f"{text}.py")
    hint = f"There is a file {file}: select it as ./{file}." if file.is_file() else None
    cause = f"{cause}\ninstalled: {listed(names) or 'none'}"
    return PluginError(text, cause, hint=hint, code="not-found")


def _distribution_of(package: str) -> Steps[tuple[str | None, str | None]]:
    """Return name and version of the first distribution that has this top-level package."""
    for each in distributions():
        yield
        if _has(each, package):
            return _named(each)
    return None, None


def _has(found: Distribution, package: str) -> bool:
    """Tell whether a top-level package or module is a distribution's.

    It may declare that itself. If not, the list of its files tells, which is searched as text: it
    may have thousands of lines (Python Packaging User Guide, "Recording installed projects").
    """
    declared = found.read_text("top_level.txt")
    if declared:
        return package in declared.split()
    files = "\n" + (found.read_text("RECORD") or "")
    return f"\n{package}/" in files or f"\n{package}.py," in files

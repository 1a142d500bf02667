"""Finds a selected plugin: by entry point, by dotted name, or by file. Nothing is imported."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from email.parser import HeaderParser
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import NamedTuple

from host.errors import PluginError
from host.runtime.steps import Steps
from host.settings import nearest
from host.text import listed, suggest

GROUP = "host.plugins"
"""The entry-point group of plugins."""
_ENTRY_POINTS = "entry_points.txt"
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


class EntryPoint(NamedTuple):
    """A plugin that a distribution offers (Python Packaging User Guide, "Entry points").

    Attributes:
        name: the plugin's name.
        value: where it is, `module:Class` if it is well formed.
        distribution: the name of the distribution, or None if it does not tell.
        version: its version, or None.
    """

    name: str
    value: str
    distribution: str | None
    version: str | None


class Unreadable(NamedTuple):
    """A distribution whose metadata cannot be read, so nobody knows which plugins it offers.

    Attributes:
        name: the name of the distribution, as far as it tells, or else of its folder.
        place: the file that is wrong.
        cause: what is wrong.
    """

    name: str
    place: str
    cause: str


class Installed(NamedTuple):
    """What the installed distributions offer.

    Attributes:
        entries: the plugins, sorted by name.
        unreadable: the distributions that cannot be read.
    """

    entries: tuple[EntryPoint, ...]
    unreadable: tuple[Unreadable, ...]


def installed() -> Steps[Installed]:
    """Return the entry points of all installed plugins; imports none.

    A step looks at one distribution. Of several with the same name the first on the path counts.
    What is wrong with one of them is noted, and does no harm to the others: nobody who runs a host
    can mend all that is on the path.
    """
    found: set[EntryPoint] = set()
    unreadable: dict[Unreadable, None] = {}
    for each in distributions():
        yield
        try:
            if _offers(each):
                found.update(_offers(_first_of_its_name(each)))
        except _UnreadableError as error:
            unreadable[Unreadable(_named(each)[0] or error.folder, error.place, str(error))] = None
    return Installed(tuple(sorted(found, key=str)), tuple(unreadable))


class _UnreadableError(Exception):
    """A file of a distribution's metadata cannot be read."""

    def __init__(self, found: Distribution, cause: str) -> None:
        super().__init__(cause)
        # Distributions tell where their files go, and not where their metadata is.
        folder = Path(str(getattr(found, "_path", "(unknown)")))
        self.folder, self.place = folder.name, str(folder / _ENTRY_POINTS)


def _offers(found: Distribution) -> list[EntryPoint]:
    """Return the plugins of a distribution.

    importlib.metadata reads the same file, but what it makes of a malformed one, and what it
    raises, depends on the version of Python. The form is configparser's, with `=` only.

    Raises:
        _UnreadableError: they cannot be told.
    """
    text = _text(found, _ENTRY_POINTS)
    if GROUP not in text:
        return []
    groups = plain_groups(text)
    if groups is None:
        groups = _unusual_groups(found, text)
    offered = groups.get(GROUP, {})
    return [EntryPoint(name, value or "", *_named(found)) for name, value in offered.items()]


def plain_groups(text: str) -> Mapping[str, Mapping[str, str | None]] | None:
    """Return the groups of an `entry_points.txt`; None if it is not as those are that tools write.

    What it takes means the same to configparser, whose import takes 4 ms of a start.
    """
    groups: dict[str, dict[str, str | None]] = {}
    group: dict[str, str | None] | None = None
    for line in text.split("\n"):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if line[0].isspace():  # goes on with the value before
            return None
        if stripped[0] == "[":
            name = stripped[1:-1]
            if stripped[-1] != "]" or name in ("", *groups):
                return None
            group = groups[name] = {}
            continue
        name, equals, value = stripped.partition("=")
        name = name.rstrip()
        if group is None or not equals or name in ("", *group):
            return None
        group[name] = value.lstrip()
    return groups


def _unusual_groups(found: Distribution, text: str) -> Mapping[str, Mapping[str, str | None]]:
    """Return the same of any such file.

    Raises:
        _UnreadableError: it is malformed.
    """
    try:
        from configparser import ConfigParser, Error  # noqa: PLC0415  (for few, and not the host's)
    except OSError as error:  # a host that runs, and loads a scheduler, may be out of descriptors
        raise _UnreadableError(found, f"{error.strerror or error}".lower()) from None
    parser = ConfigParser(
        delimiters=("=",), interpolation=None, allow_no_value=True, default_section=""
    )
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their case
    try:
        parser.read_string(text, _ENTRY_POINTS)
    except Error as error:
        raise _UnreadableError(found, " ".join(error.message.split())) from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _text(found: Distribution, file: str) -> str:
    """Return the text of a file of a distribution's metadata; "" if there is none.

    Raises:
        _UnreadableError: it cannot be read.
    """
    try:
        return found.read_text(file) or ""
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise _UnreadableError(found, f"it is not UTF-8 text: byte 0x{byte:02x}") from None
    except OSError as error:
        raise _UnreadableError(found, f"{error.strerror or error}".lower()) from None


def _first_of_its_name(found: Distribution) -> Distribution:
    """Return the first distribution on the path that has the name of this one.

    Metadata may have a name by which it cannot be found; then it is this one.
    """
    name = _named(found)[0]
    try:
        return found if name is None else distribution(name)
    except (PackageNotFoundError, ValueError):
        return found


@functools.lru_cache(maxsize=64)
def _named(found: Distribution) -> tuple[str | None, str | None]:
    """Return name and version of a distribution; its metadata is read once for all its plugins.

    Both are None if they cannot be told: a plugin can be used all the same.
    """
    try:
        text = found.read_text("METADATA")
        # The rest may be long: parsing it takes a millisecond each.
        metadata = HeaderParser().parsestr(text) if text else found.metadata
        known = dict(metadata.items()) if hasattr(metadata, "items") else {}
    except (OSError, UnicodeError, PackageNotFoundError):
        return None, None
    words = (" ".join(str(known.get(field) or "").split()) for field in ("Name", "Version"))
    name, version = (word or None for word in words)
    return name, version


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
        offers = [f"{_whose(e)} ({e.value})" for e in matching]
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
    match = _REFERENCE.fullmatch(entry.value)
    if match is None:
        raise PluginError(
            entry.name,
            f'the entry point\'s value "{entry.value}" is not of the form module:Class',
            origin=_whose(entry),
            code="not-found",
        )
    module, attribute = match["module"], match["attribute"] or ""
    return Source(
        entry.name,
        module,
        attribute,
        distribution=entry.distribution,
        version=entry.version,
        entry=True,
    )


def _whose(entry: EntryPoint) -> str:
    return f"{entry.distribution or '(no name)'} {entry.version or '(no version)'}"


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
    try:
        declared = _text(found, "top_level.txt")
        files = "\n" + ("" if declared else _text(found, "RECORD"))
    except _UnreadableError:
        return False
    return package in declared.split() or f"\n{package}/" in files or f"\n{package}.py," in files

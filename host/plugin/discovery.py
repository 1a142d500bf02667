"""Finds and imports a selected plugin: by entry point, by dotted name, or by file."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import SourceFileLoader
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution
from importlib.metadata import entry_points as points
from importlib.metadata import packages_distributions as packages
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple, cast

from host.errors import PluginError
from host.text import listed, shorten, suggest
from settings import nearest

GROUP = "host.plugins"
"""The entry-point group of plugins."""


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


def installed() -> tuple[EntryPoint, ...]:
    """Return the entry points of all installed plugins, sorted by name; imports none."""
    found = {(each.name, each.value, belongs_to(each)): each for each in points(group=GROUP)}
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


def find(text: str, entries: Sequence[EntryPoint]) -> Source:
    """Return where the plugin that is selected by `text` is to be found.

    Args:
        text: the name of an entry point, `package.module:Class`, or `./file.py`.
        entries: the installed entry points.

    Raises:
        PluginError: if there is no such thing, or two distributions offer it.
    """
    holder, colon, attribute = text.partition(":")
    if "/" in holder or holder.endswith(".py"):
        return _find_file(text, Path(holder).expanduser(), attribute)
    matching = [entry for entry in entries if entry.name == text]
    if matching:
        return _find_entry(text, matching)
    if colon or "." in text:
        name, version = _distribution_of(holder.partition(".")[0])
        return Source(text, holder, attribute, distribution=name, version=version)
    raise _unknown(text, entries)


def _find_file(text: str, path: Path, attribute: str) -> Source:
    name = f"{path.stem}:{attribute}" if attribute else path.stem
    origin = f"file {text}"
    if path.is_dir():
        raise PluginError(name, "this is a folder, not a file", origin=origin)
    if path.is_file():
        return Source(name, "", attribute, path=path)
    beside = sorted(path.parent.glob("*.py")) if path.parent.is_dir() else []
    near = nearest(path.name, [each.name for each in beside])
    if not path.parent.is_dir():
        cause = f"there is no folder {path.parent}"
    else:
        cause = f"there is no file {path.name} in {path.parent.resolve()}"
    raise PluginError(name, f"{cause}{suggest(near)}", origin=origin)


def _find_entry(text: str, matching: Sequence[EntryPoint]) -> Source:
    if len(matching) > 1:
        offers = [f"{' '.join(filter(None, belongs_to(e)))} ({e.value})" for e in matching]
        raise PluginError(
            text,
            f'{len(matching)} installed distributions offer a plugin "{text}": {listed(offers)}',
            hint="Uninstall one of them, or select it as package.module:Class.",
        )
    return locate_entry(matching[0])


def locate_entry(entry: EntryPoint) -> Source:
    """Return where an entry point's plugin is to be found.

    Raises:
        PluginError: if the distribution's metadata is broken.
    """
    name, version = belongs_to(entry)
    try:
        module, attribute = entry.module, entry.attr
    except AttributeError:  # what importlib.metadata raises for a value it cannot parse
        raise PluginError(
            entry.name,
            f'the entry point\'s value "{entry.value}" is not of the form module:Class',
            origin=f"{name} {version}",
        ) from None
    return Source(
        entry.name, module, attribute or "", distribution=name, version=version, entry=True
    )


def _unknown(text: str, entries: Iterable[EntryPoint]) -> PluginError:
    names = sorted({entry.name for entry in entries})
    cause = f'no plugin "{text}" is installed{suggest(nearest(text, names))}'
    file = Path(f"{text}.py")
    hint = f"There is a file {file}: select it as ./{file}." if file.is_file() else None
    return PluginError(text, f"{cause}\ninstalled: {listed(names) or 'none'}", hint=hint)


def _distribution_of(package: str) -> tuple[str | None, str | None]:
    for name in packages().get(package, ()):
        try:
            return name, distribution(name).version
        except PackageNotFoundError:
            continue
    return None, None


class Importer:
    """Imports sources, each file once; `undo()` takes files out of `sys.modules` again."""

    def __init__(self) -> None:
        self._files: dict[Path, ModuleType] = {}

    def undo(self) -> None:
        """Forget the modules that were made from files."""
        for module in self._files.values():
            sys.modules.pop(module.__name__, None)
        self._files.clear()

    def load(self, source: Source) -> object:
        """Import a source and return its module, or the class or whatever else it names.

        Raises:
            PluginError: if that fails, whatever the plugin raises.
        """
        try:
            module = self._file(source.path) if source.path else _module(source)
        except PluginError:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise failed(source, error, "importing it failed") from error
        found: object = module
        for step in filter(None, source.attribute.split(".")):
            if not hasattr(found, step):
                raise _no_attribute(source, found, step)
            found = getattr(found, step)
        return found

    def _file(self, path: Path) -> ModuleType:
        resolved = path.resolve()
        if resolved in self._files:
            return self._files[resolved]
        digest = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:8]
        # The same in each process and after a reload, so that what is pickled can be read there;
        # two loads at a time (the settings are checked, then used) get different ones.
        name = unique = f"prefork_file_{resolved.stem}_{digest}"
        number = 1
        while unique in sys.modules:
            number += 1
            unique = f"{name}_{number}"
        loader = _FileLoader(unique, str(resolved))
        spec = importlib.util.spec_from_file_location(unique, resolved, loader=loader)
        module = importlib.util.module_from_spec(cast("importlib.machinery.ModuleSpec", spec))
        sys.modules[unique] = module
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[unique]
            raise
        self._files[resolved] = module
        return module


class _FileLoader(SourceFileLoader):
    """Compiles anew each time: no `__pycache__` beside a file that is edited and run in place."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _module(source: Source) -> ModuleType:
    try:
        return importlib.import_module(source.module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != source.module and not source.module.startswith(f"{missing}."):
            raise  # found, but something that it imports is not
        parent, _, last = missing.rpartition(".")
        search = getattr(sys.modules.get(parent), "__path__", None) if parent else None
        names = [each.name for each in pkgutil.iter_modules(search)]
        near = nearest(last, names)
        within = f" in the package {parent}" if parent else ""
        hint = None
        if not parent and (Path(last).is_dir() or Path(f"{last}.py").is_file()):
            hint = (
                f'"{last}" is in the current folder, which is not searched for modules: '
                "install it, set PYTHONPATH, or select ./FILE.py."
            )
            near = None
        raise PluginError(
            source.name,
            f'there is no module "{last}"{within}{suggest(near)}',
            origin=source.origin,
            hint=hint,
        ) from None


def _no_attribute(source: Source, holder: object, missing: str) -> PluginError:
    module = getattr(holder, "__name__", "")
    classes = [
        name
        for name, value in vars(holder).items()
        if inspect.isclass(value) and value.__module__ == module
    ]
    near = nearest(missing, classes)
    home = source.target.partition(":")[0]
    return PluginError(
        source.name,
        f'there is no "{missing}" in {home}{suggest(near)}\nclasses in there: '
        f"{listed(sorted(classes)) or 'none'}",
        origin=source.origin,
        where=shorten(getattr(holder, "__file__", None) or home),
    )


def failed(
    source: Source, error: BaseException, what: str, subject: type | None = None
) -> PluginError:
    """Return the plugin error for an exception of the plugin's own code.

    It shows the last place within the plugin, which need not be the last one of all: the cause
    of a wrong call is where it is made.

    Args:
        source: the plugin.
        error: what its code raised.
        what: what the host was doing.
        subject: the class to point at if none of its code was reached.
    """
    where = None
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if os.path.dirname(frame.filename) != os.path.dirname(__file__)
        and not frame.filename.startswith("<frozen importlib")
    ]
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{shorten(error.filename)}:{error.lineno}  {(error.text or '').strip()}".rstrip()
    elif frames:
        homes = tuple(_homes(source))
        own = [frame for frame in frames if homes and frame.filename.startswith(homes)]
        last = (own or frames)[-1]
        where = f"{shorten(last.filename)}:{last.lineno}  {last.line or ''}".rstrip()
    elif subject:
        where = _class_place(subject)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    cause = f"{what}: {type(error).__name__}" + (f": {text}" if text else "")
    hint = None
    if isinstance(error, ModuleNotFoundError) and source.path and error.name:
        beside = source.path.parent / f"{error.name.partition('.')[0]}.py"
        if beside.is_file():
            hint = f"{beside} exists, but the folder of a plugin file is not searched for modules."
    if isinstance(error, SystemExit):
        hint = "A plugin must not exit: raise an exception that says what is wrong."
    return PluginError(source.name, cause, origin=source.origin, where=where, hint=hint)


def _class_place(subject: type) -> str | None:
    try:
        line = inspect.getsourcelines(subject)[1]
        return f"{shorten(inspect.getfile(subject))}:{line}  class {subject.__name__}"
    except (OSError, TypeError):
        return None


def _homes(source: Source) -> Iterator[str]:
    """Yield what the names of the plugin's own files begin with."""
    if source.path:
        yield str(source.path.resolve())
        return
    try:
        spec = importlib.util.find_spec(source.module.partition(".")[0])
    except (ImportError, ValueError):
        return
    if spec and spec.submodule_search_locations:
        yield from (os.path.join(folder, "") for folder in spec.submodule_search_locations)
    elif spec and spec.origin:
        yield spec.origin

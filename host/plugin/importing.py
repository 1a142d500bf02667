"""Imports the source of a plugin, and says what is wrong if that fails."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import cast

from host.errors import Interrupted, PluginError
from host.plugin.discovery import Source
from host.settings import nearest
from host.text import listed, shorten, suggest


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
        except BaseException as error:
            if is_of_operator(error):
                raise
            raise import_error(source, error, "importing it failed") from error
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


def is_of_operator(error: BaseException) -> bool:
    """Tell whether an error is no plugin's, but stops what loads it: a signal, or Ctrl-C.

    A host handles signals itself, and then a plain KeyboardInterrupt is one that a plugin raises.
    """
    if isinstance(error, Interrupted):
        return True
    by_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return isinstance(error, KeyboardInterrupt) and by_default


def file_modules() -> dict[str, str]:
    """Return the path of each module that was made of a file, by its name."""
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    loaders = [spec.loader for spec in specs if spec is not None]
    return {each.name: each.path for each in loaders if isinstance(each, _FileLoader)}


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
        folders = getattr(sys.modules.get(parent), "__path__", ()) if parent else sys.path
        near = nearest(last, _modules_in(folders))
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
            code="not-found",
        ) from None


def _modules_in(folders: Iterable[str]) -> set[str]:
    """Return the names of what is a module or package in folders, as far as their lists tell.

    pkgutil.iter_modules() looks into each folder in there, which takes ten times as long.
    """
    found = set()
    for folder in folders:
        with suppress(OSError):
            for name in os.listdir(folder or "."):
                stem, _, ending = name.partition(".")
                if stem.isidentifier() and (ending in ("", "py") or ending.endswith("so")):
                    found.add(stem)
    return found


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
        code="not-found",
    )


def import_error(
    source: Source, error: BaseException, what: str, subject: type | None = None
) -> PluginError:
    """Return the plugin error for an exception of the plugin's own code.

    It shows the last place within the plugin, which need not be the last one of all: the cause
    of a wrong call is where it is made.

    Args:
        source: the plugin.
        error: what its code raised.
        what: what the host was doing.
        subject: the class that was called; it is pointed at if none of its code was reached.
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
        files = tuple(homes(source))
        own = [frame for frame in frames if files and frame.filename.startswith(files)]
        last = (own or frames)[-1]
        where = f"{shorten(last.filename)}:{last.lineno}  {last.line or ''}".rstrip()
    elif subject:
        where = _class_place(subject)
    text = error.msg if isinstance(error, SyntaxError) else _text(error)
    cause = f"{what}: {type(error).__name__}" + (f": {text}" if text else "")
    hint = None
    if isinstance(error, ModuleNotFoundError) and source.path and error.name:
        beside = source.path.parent / f"{error.name.partition('.')[0]}.py"
        if beside.is_file():
            hint = f"{beside} exists, but the folder of a plugin file is not searched for modules."
    if isinstance(error, SystemExit):
        hint = "A plugin must not exit: raise an exception that says what is wrong."
    code = "construct-failed" if subject else "import-failed"
    return PluginError(source.name, cause, origin=source.origin, where=where, hint=hint, code=code)


def _text(error: BaseException) -> str:
    """Return the text of an error of the plugin's own, whose `__str__` may fail as well."""
    try:
        return str(error)
    except Exception:
        return "(its text cannot be made)"


def _class_place(subject: type) -> str | None:
    try:
        line = inspect.getsourcelines(subject)[1]
        return f"{shorten(inspect.getfile(subject))}:{line}  class {subject.__name__}"
    except (OSError, TypeError):
        return None


def homes(source: Source) -> Iterator[str]:
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

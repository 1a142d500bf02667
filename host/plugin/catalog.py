"""Lists installed and selected plugins without importing any of them."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from host.errors import PluginError
from host.plugin.binding import HOOKS
from host.plugin.declarations import ATTRIBUTE, Declaration, parse
from host.plugin.discovery import Source, find, installed, locate_entry
from host.plugin.loading import DEFAULTS, selection
from host.runtime.steps import finish

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Entry:
    """One plugin that is installed or selected.

    Attributes:
        name: its name.
        distribution: the distribution it belongs to, or None.
        version: that distribution's version, or None.
        origin: what is imported when it is selected: module and class, or a file.
        implements: the hooks it implements as far as its source tells, or None if it does not.
        declares: what it declares as far as its source tells, or None if it does not.
        selected: whether the settings load it.
        default: whether it is loaded unless `no:NAME` leaves it out.
        error: why it could not be loaded, as far as that shows without importing it, or None.
    """

    name: str
    distribution: str | None
    version: str | None
    origin: str
    implements: tuple[str, ...] | None
    declares: Declaration | None
    selected: bool
    default: bool
    error: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        declares = None if self.declares is None else self.declares.as_dict()
        return {**asdict(self), "declares": declares}


def catalog(plugins: Iterable[str] = ()) -> list[Entry]:
    """Return what is installed, sorted by name, and whatever else is selected, in that order.

    A distribution whose metadata cannot be read is listed by its own name, with the reason.

    Args:
        plugins: the selection, as in the settings.
    """
    entries, unreadable = finish(installed())
    try:
        chosen: Sequence[str] = selection(plugins)
    except PluginError as error:
        chosen = tuple(text for text in plugins if not text.startswith("no:"))
        trouble = [_broken(error.plugin, error)]
    else:
        trouble = []
    listed = []
    for each in entries:
        twice = sum(other.name == each.name for other in entries) > 1
        try:
            source = locate_entry(each)
        except PluginError as error:
            listed.append(_broken(each.name, error, selected=each.name in chosen))
            continue
        error_text = "several distributions offer a plugin of this name" if twice else None
        listed.append(_entry(source, selected=each.name in chosen, error=error_text))
    names = {each.name for each in entries}
    for text in chosen:
        if text in names:
            continue
        try:
            listed.append(_entry(finish(find(text, entries)), selected=True))
        except PluginError as error:
            listed.append(_broken(error.plugin, error, selected=True))
    foreign = [
        _broken(each.name, PluginError(each.name, each.cause, origin=each.place))
        for each in unreadable
    ]
    return listed + foreign + trouble


def _entry(source: Source, *, selected: bool, error: str | None = None) -> Entry:
    try:
        declares = written_declaration(source)
    except PluginError as wrong:
        declares, error = None, error or wrong.cause
    return Entry(
        source.name,
        source.distribution,
        source.version,
        source.target,
        implemented(source),
        declares,
        selected,
        source.name in DEFAULTS,
        error,
    )


def _broken(name: str, error: PluginError, *, selected: bool = False) -> Entry:
    cause = error.cause.partition("\n")[0]
    origin = error.origin or ""
    return Entry(name, None, None, origin, None, None, selected, name in DEFAULTS, cause)


def implemented(source: Source) -> tuple[str, ...] | None:
    """Return the hooks that a plugin's source marks, or None if that cannot be told.

    It reads what is written: hooks that come from a base class in another file are not seen, so
    a class with such a base gives None.
    """
    tree = _tree(source)
    if tree is None:
        return None
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found: set[str] | None
    if source.attribute:
        found = _hooks_of_class(source.attribute, classes)
    else:
        found = set(_hooks(tree.body))
        with_hooks = [name for name, node in classes.items() if set(_hooks(node.body))]
        if not found and with_hooks:
            found = _hooks_of_class(with_hooks[0], classes) if len(with_hooks) == 1 else None
    if found is None:
        return None
    own = [hook for hook in HOOKS if hook in found]
    return (*own, *sorted(found.difference(own)))


def _tree(source: Source) -> ast.Module | None:
    """Return what is written in a plugin's module, or None if that cannot be told."""
    path = source.path or file_of(source.module)
    try:
        return ast.parse(path.read_bytes()) if path else None
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def written_declaration(source: Source) -> Declaration | None:
    """Return what a plugin declares in its class or in the module, or None if it is no literal.

    What a class inherits is not seen.

    Raises:
        PluginError: what it declares is not understood.
    """
    tree = _tree(source)
    if tree is None:
        return None
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bodies = [node.body for node in classes if source.attribute in ("", node.name)]
    value = next(filter(None, map(_declaration, [*bodies, tree.body])), None)
    if value is None:
        return Declaration()
    try:
        return parse(source, ast.literal_eval(value))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _declaration(body: Iterable[ast.stmt]) -> ast.expr | None:
    """Return what is assigned to `host_plugin` among statements, or None."""
    for node in body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ) if name == ATTRIBUTE:
                return value
    return None


OF_BASES = {
    "AsyncioProtocol": {
        "on_worker_start",
        "on_accept",
        "on_readable",
        "on_close",
        "on_drain",
        "on_worker_stop",
    }
}
"""The hooks that classes have from bases which the host offers."""


def _hooks_of_class(name: str, classes: dict[str, ast.ClassDef]) -> set[str] | None:
    if name not in classes:
        return None
    found = set(_hooks(classes[name].body))
    # A class cannot be among its own bases, except in source that does not run.
    others = {other: node for other, node in classes.items() if other != name}
    for base in classes[name].bases:
        inherited = _hooks_of_class(base.id, others) if isinstance(base, ast.Name) else None
        if isinstance(base, ast.Name) and base.id == "object":
            continue
        if inherited is None and isinstance(base, ast.Name):
            inherited = OF_BASES.get(base.id)
        if inherited is None:
            return None
        found |= inherited
    return found


def _hooks(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names of hooks among statements: functions that are decorated with hookimpl."""
    for node in body:
        if isinstance(node, _Function):
            for decorator in node.decorator_list:
                if (name := marked(node.name, decorator)) is not None:
                    yield name


def marked(name: str, decorator: ast.expr) -> str | None:
    """Return the hook that a decorator of the function `name` makes it, if it is hookimpl."""
    call = decorator if isinstance(decorator, ast.Call) else None
    marker = call.func if call else decorator
    word = marker.attr if isinstance(marker, ast.Attribute) else getattr(marker, "id", "")
    if word != "hookimpl":
        return None
    for keyword in call.keywords if call else ():
        if keyword.arg == "specname" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return name


def file_of(module: str) -> Path | None:
    """Return a module's file without importing anything.

    `find_spec("a.b")` imports `a`, so only the top-level name is looked up with it; the rest is a
    matter of files, save for packages that change their `__path__`.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    below = Path(*rest)
    for folder in folders:
        for candidate in (folder / below.with_suffix(".py"), folder / below / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None

"""Reads the source of a plugin, without importing it: its class, its hooks and what they call."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from host.plugin.catalog import file_of, marked
from host.plugin.discovery import Source
from host.text import shorten

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

MAX_BYTES = 2_000_000
"""What a plugin may have in one file to be looked through: Python needs 1 GB for ten times that."""


_MOST_MODULES = 200
_OF_PROTOCOLS = frozenset(
    ("connection_made", "data_received", "buffer_updated", "eof_received", "connection_lost")
)
"""The methods of asyncio's protocols that are called for what a peer does."""


class TooLargeError(Exception):
    """A file of source is too large, or nested too deep, to be looked through."""


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """The source of one module.

    Attributes:
        name: its dotted name, or "" for a file.
        path: its file.
        tree: what is written there.
        imported: what its imports bind, anywhere in it: name and dotted name.
        functions: the functions at its top, by name.
        classes: the classes at its top, by name.
    """

    name: str
    path: Path
    tree: ast.Module
    imported: Mapping[str, str]
    functions: Mapping[str, FunctionNode]
    classes: Mapping[str, ast.ClassDef]

    def place(self, node: ast.AST) -> str:
        """Return where something is written: file and line."""
        return f"{shorten(str(self.path))}:{getattr(node, 'lineno', 1)}"

    def dotted(self, node: ast.expr, hidden: frozenset[str] = frozenset()) -> str | None:
        """Return the full dotted name of what an expression names; None if it is not imported.

        Args:
            node: the expression.
            hidden: names that stand for something local.
        """
        rest: list[str] = []
        while isinstance(node, ast.Attribute):
            rest.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in hidden:
            return None
        if (root := self.imported.get(node.id)) is not None:
            return ".".join([root, *rest])
        own = node.id in self.functions or node.id in self.classes
        if own or rest or not hasattr(builtins, node.id):
            return None
        return f"builtins.{node.id}"


class Function(NamedTuple):
    """A function where it is written, and the class that it is a method of, if any."""

    node: FunctionNode
    module: Module
    owner: ast.ClassDef | None


class HookFunction(NamedTuple):
    """A function that is marked as a hook.

    Attributes:
        hook: the hook's name.
        function: the function.
        is_wrapper: whether it runs around the others.
    """

    hook: str
    function: Function
    is_wrapper: bool


@dataclass(slots=True)
class PluginSource:
    """What is written of one plugin, over all modules of its package.

    Attributes:
        main: the module that the plugin is, or that its class is in.
        holder: its class, or None if the module is the plugin.
        own: what the names of its own modules begin with, or "" for a file.
    """

    main: Module
    holder: ast.ClassDef | None
    own: str
    _modules: dict[str, Module | None] = field(default_factory=dict)

    def choose(self, name: str) -> bool:
        """Take a class for the plugin, which may be imported from another module of the package.

        Args:
            name: what the class is called in the plugin's module.

        Returns:
            Whether the class is found.
        """
        seen: set[Path] = set()
        while name not in self.main.classes:
            home, _, name = self.main.imported.get(name, "").rpartition(".")
            module = self._module(home)
            if module is None or module.path in seen:
                return False
            seen.add(module.path)
            self.main = module
        self.holder = self.main.classes[name]
        return True

    def hooks(self) -> list[HookFunction]:
        """Return the functions that are marked as hooks."""
        if self.holder is None:
            candidates = [Function(each, self.main, None) for each in self.main.functions.values()]
        else:
            candidates = list(self.methods(self.holder, self.main).values())
        return [hook for each in candidates if (hook := _as_hook(each)) is not None]

    def modules(self) -> Iterator[Module]:
        """Yield the plugin's module, and those of the same package that it imports from."""
        yield self.main
        for home in {name.rpartition(".")[0] for name in self.main.imported.values()}:
            if (module := self._module(home)) is not None:
                yield module

    def functions(self) -> list[Function]:
        """Return the methods of the plugin's class, and the functions of its module."""
        of_module = [Function(each, self.main, None) for each in self.main.functions.values()]
        if self.holder is None:
            return of_module
        return [*self.methods(self.holder, self.main).values(), *of_module]

    def called_by_asyncio(self) -> Iterator[Function]:
        """Yield what the host's event loop of asyncio calls: coroutines, and methods of protocols.

        That is in modules that import from `host.asyncio`, or name the attribute of workers.
        """
        for module in self.modules():
            if not _uses_asyncio(module):
                continue
            roots = [(each, each) for each in module.classes.values()]
            for root, owner in [*roots, *((each, None) for each in module.functions.values())]:
                for node in ast.walk(root):
                    if isinstance(node, ast.AsyncFunctionDef) or (
                        isinstance(node, ast.FunctionDef) and node.name in _OF_PROTOCOLS
                    ):
                        yield Function(node, module, owner)

    def methods(self, owner: ast.ClassDef, module: Module) -> dict[str, Function]:
        """Return the methods of a class by name, with those of its bases in the same package."""
        found: dict[str, Function] = {}
        for each, home in self._lineage(owner, module, set()):
            for node in each.body:
                if isinstance(node, FunctionNode):
                    found.setdefault(node.name, Function(node, home, owner))
        return found

    def is_named_elsewhere(self, word: str) -> bool:
        """Tell whether another module in the folder of a package has this word in it."""
        others = sorted(self.main.path.parent.glob("*.py"))[:_MOST_MODULES] if self.own else ()
        for path in others:
            with suppress(OSError):
                if path != self.main.path and path.stat().st_size <= MAX_BYTES:
                    text = path.read_text(encoding="utf-8", errors="replace")
                    if re.search(rf"\b{word}\b", text):
                        return True
        return False

    def has_foreign_base(self, owner: ast.ClassDef, module: Module) -> bool:
        """Tell whether a class has a base that is not written in the same package."""
        return any(
            self._class(base, home) is None and ast.unparse(base) != "object"
            for each, home in self._lineage(owner, module, set())
            for base in each.bases
        )

    def function(self, node: ast.expr, caller: Function) -> Function | None:
        """Return the function of the same package that an expression names, or None."""
        if isinstance(node, ast.Attribute) and _is_self(node.value, caller):
            assert caller.owner is not None
            return self.methods(caller.owner, caller.module).get(node.attr)
        if isinstance(node, ast.Name) and node.id in caller.module.functions:
            return Function(caller.module.functions[node.id], caller.module, None)
        home, _, name = (caller.module.dotted(node) or "").rpartition(".")
        module = self._module(home)
        if module is None or name not in module.functions:
            return None
        return Function(module.functions[name], module, None)

    def _class(self, node: ast.expr, module: Module) -> tuple[ast.ClassDef, Module] | None:
        if isinstance(node, ast.Name) and node.id in module.classes:
            return module.classes[node.id], module
        home, _, name = (module.dotted(node) or "").rpartition(".")
        other = self._module(home)
        return (other.classes[name], other) if other and name in other.classes else None

    def _lineage(
        self, owner: ast.ClassDef, module: Module, seen: set[ast.ClassDef]
    ) -> Iterator[tuple[ast.ClassDef, Module]]:
        if owner in seen:  # only in source that does not run
            return
        seen.add(owner)
        yield owner, module
        for base in owner.bases:
            if (found := self._class(base, module)) is not None:
                yield from self._lineage(*found, seen)

    def _module(self, name: str) -> Module | None:
        """Return a module of the same package, or None."""
        if not self.own or not f"{name}.".startswith(f"{self.own}."):
            return None
        if name not in self._modules:
            path = file_of(name)
            try:
                self._modules[name] = read_module(name, path) if path else None
            except TooLargeError:  # what is in there is not known, as with an extension in C
                self._modules[name] = None
        return self._modules[name]


def read(source: Source) -> PluginSource | None:
    """Read a plugin's source; None if there is none in Python, or none that Python takes.

    Raises:
        TooLargeError: it cannot be looked through.
    """
    path = source.path or file_of(source.module)
    main = read_module(source.module, path) if path else None
    if main is None:
        return None
    top = source.module.partition(".")[0]
    found = PluginSource(main, None, "host.plugins" if top == "host" else top)
    if source.attribute:
        return found if found.choose(source.attribute) else None
    marked_classes = [name for name, each in main.classes.items() if _has_hooks(each)]
    if len(marked_classes) == 1 and not any(map(_hook_name, main.functions.values())):
        found.choose(marked_classes[0])
    return found


def read_module(name: str, path: Path) -> Module | None:
    """Read the source of a module; None if Python does not take it either.

    Raises:
        TooLargeError: it cannot be looked through.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TooLargeError(f"{path.name} has more than {MAX_BYTES:,} bytes")
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    except (RecursionError, MemoryError):
        raise TooLargeError(f"{path.name} is nested too deep") from None
    return Module(
        name,
        path,
        tree,
        dict(_imports(tree, name, is_package=path.name == "__init__.py")),
        {node.name: node for node in tree.body if isinstance(node, FunctionNode)},
        {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)},
    )


def _imports(tree: ast.Module, name: str, *, is_package: bool) -> Iterator[tuple[str, str]]:
    """Yield what imports bind: the name, and the dotted name of what it stands for."""
    package = name if is_package else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                home = ".".join(filter(None, [*above, home]))
            for alias in node.names:
                yield alias.asname or alias.name, f"{home}.{alias.name}"


def _hook_name(node: FunctionNode) -> str | None:
    names = (marked(node.name, decorator) for decorator in node.decorator_list)
    return next(filter(None, names), None)


def _has_hooks(owner: ast.ClassDef) -> bool:
    return any(isinstance(node, FunctionNode) and _hook_name(node) for node in owner.body)


def _as_hook(function: Function) -> HookFunction | None:
    name = _hook_name(function.node)
    if name is None:
        return None
    wrapper = any(
        keyword.arg in ("wrapper", "hookwrapper")
        for decorator in function.node.decorator_list
        if isinstance(decorator, ast.Call)
        for keyword in decorator.keywords
    )
    return HookFunction(name, function, wrapper)


def _is_self(node: ast.expr, caller: Function) -> bool:
    """Tell whether an expression names the instance that a method belongs to."""
    if caller.owner is None or not isinstance(node, ast.Name):
        return False
    given = caller.node.args.posonlyargs + caller.node.args.args
    return bool(given) and node.id == given[0].arg


def _uses_asyncio(module: Module) -> bool:
    """Tell whether a module uses the host's event loop of asyncio."""
    return any(name.startswith("host.asyncio.") for name in module.imported.values()) or any(
        isinstance(node, ast.Attribute) and node.attr == "asyncio" for node in ast.walk(module.tree)
    )

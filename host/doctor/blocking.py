"""Looks in the source of hooks, and of what they call, for what would hold up everybody else."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from host.doctor.rules import Finding
from host.doctor.source import Function, FunctionNode, PluginSource
from host.doctor.waiting import (
    CALLBACKS,
    FUNCTIONS,
    LOOP_METHODS,
    MAKERS,
    MAY_WAIT,
    OBJECTS,
    POOL,
    RAISES,
    WAITS,
)
from host.hookspecs import ROWS

_Scope = FunctionNode | ast.Lambda
_WORDS = {WAITS: "waits", MAY_WAIT: "may wait", RAISES: "raises WouldBlockError"}


def check_blocking(source: PluginSource) -> Iterator[Finding]:
    """Yield what is wrong in hooks that must not block; hooks of other plugins are such, too.

    Neither must coroutines and protocols of asyncio, which run on the same loop.
    """
    told: set[str] = set()
    for hook in source.hooks():
        row = ROWS.get(hook.hook)
        may_block = row is not None and "Blocking: no" not in (row.specification.__doc__ or "")
        search = _Search(source, hook.hook, told)
        yield from search.search(hook.function, may_block=may_block)
    for function in source.called_by_asyncio():
        in_coroutine = isinstance(function.node, ast.AsyncFunctionDef)
        search = _Search(source, function.node.name, told, in_coroutine=in_coroutine)
        yield from search.search(function)


class _Visit(NamedTuple):
    """A function that a search has come to.

    Attributes:
        function: the function, or the one that a lambda is written in.
        scope: what is looked at: its own node, or the lambda's.
        way: the functions by which the hook gets there.
        may_block: whether only what the loop calls later must not wait.
    """

    function: Function
    scope: _Scope
    way: tuple[str, ...]
    may_block: bool


@dataclass(slots=True)
class _Search:
    """A search through one hook, and through all functions of the package that it calls.

    Attributes:
        source: what is written of the plugin.
        hook: the hook's name.
        told: the places that were told of, from this hook or another.
        in_coroutine: whether it is a coroutine, which can await what a pool does.
    """

    source: PluginSource
    hook: str
    told: set[str]
    in_coroutine: bool = False
    _seen: set[tuple[ast.AST, bool]] = field(default_factory=set)

    def search(
        self, function: Function, way: tuple[str, ...] = (), *, may_block: bool = False
    ) -> Iterator[Finding]:
        """Yield what waits in a function, and in what it calls.

        Args:
            function: the function.
            way: the functions by which the hook gets there.
            may_block: whether only what the loop calls later must not wait.
        """
        if (function.node, may_block) in self._seen:
            return
        self._seen.add((function.node, may_block))
        visit = _Visit(function, function.node, way, may_block)
        yield from self._visit(visit)

    def _visit(self, visit: _Visit) -> Iterator[Finding]:
        names = _Names(self.source, visit.function, visit.scope)
        yield from self._look(visit, names)
        for call in _calls(visit.scope):
            yield from self._follow(call.func, visit, visit.may_block)
            for target in names.called_later(call):
                yield from self._follow(_without_partial(target), visit, False)

    def _look(self, visit: _Visit, names: _Names) -> Iterator[Finding]:
        """Yield what waits in a function itself."""
        for loop in (each for each in _own(visit.scope) if isinstance(each, ast.While)):
            if not visit.may_block and _is_endless(loop):
                yield from self._tell("endless-loop", "this loop never ends", loop, visit)
        for call in _calls(visit.scope):
            if (waiting := names.waiting(call)) is not None:
                code, name = waiting
                if not (self.in_coroutine if code == RAISES else visit.may_block):
                    yield from self._tell(code, f"{name} {_WORDS[code]}", call, visit)

    def _follow(self, target: ast.expr, visit: _Visit, may_block: bool) -> Iterator[Finding]:
        """Yield what waits in what is called, or given to the loop."""
        function, scope, way, _ = visit
        if isinstance(target, ast.Lambda):
            yield from self._visit(_Visit(function, target, (*way, "a lambda"), may_block))
            return
        inner = {each.name: each for each in _own(scope) if isinstance(each, FunctionNode)}
        called = self.source.function(target, function)
        if isinstance(target, ast.Name) and target.id in inner:
            called = Function(inner[target.id], function.module, function.owner)
        # A coroutine runs where it is awaited, which is not here.
        if called is not None and isinstance(called.node, ast.FunctionDef):
            yield from self.search(called, (*way, called.node.name), may_block=may_block)

    def _tell(self, code: str, message: str, node: ast.AST, visit: _Visit) -> Iterator[Finding]:
        place = visit.function.module.place(node)
        if place not in self.told:
            self.told.add(place)
            by = f", by way of {', '.join(visit.way)}" if visit.way else ""
            yield Finding(code, f"{message} in {self.hook}{by}", place, _first_line(node))


@dataclass
class _Names:
    """What names stand for in a function: imports, and objects with methods that wait."""

    source: PluginSource
    function: Function
    scope: _Scope

    def waiting(self, call: ast.Call) -> tuple[str, str] | None:
        """Return the code and the name of what a call waits for, or None."""
        name, found = self._dotted(call.func) or "", None
        if name in FUNCTIONS:
            found = FUNCTIONS[name], f"{name.removeprefix('builtins.')}()"
        elif isinstance(call.func, ast.Attribute):
            maker = self._maker(call.func.value, frozenset()) or ""
            code, methods = OBJECTS.get(maker, ("", ()))
            if call.func.attr in methods and not self._is_made_non_blocking(call.func.value):
                found = code, f"{maker}().{call.func.attr}()"
        return None if found is None or _does_not_wait(call) else found

    def called_later(self, call: ast.Call) -> Sequence[ast.expr]:
        """Return the arguments that may be functions which the loop calls later."""
        if not isinstance(call.func, ast.Attribute):
            return ()
        method = call.func.attr
        if method in LOOP_METHODS:
            return call.args
        if method in CALLBACKS and self._maker(call.func.value, frozenset()) == POOL:
            named = (each for each in call.keywords if each.arg in ("callback", "error_callback"))
            return [*call.args[CALLBACKS[method] :], *(each.value for each in named)]
        return ()

    def _is_made_non_blocking(self, node: ast.expr) -> bool:
        """Tell whether the class, or the function, has a socket return at once."""
        call = f"{ast.unparse(node)}.setblocking(False)"
        everywhere = ast.walk(self.function.owner or self.function.node)
        return any(isinstance(each, ast.Call) and ast.unparse(each) == call for each in everywhere)

    def _dotted(self, node: ast.expr) -> str | None:
        return self.function.module.dotted(node, self._hidden)

    @functools.cached_property
    def _hidden(self) -> frozenset[str]:
        return frozenset((*_bound(self.scope), *_bound(self.function.node)))

    def _maker(self, node: ast.expr, above: frozenset[str]) -> str | None:
        """Return the full name of what has made the object that an expression stands for.

        Args:
            node: the expression.
            above: the names on the way to it: one that is made of itself is not followed.
        """
        if not isinstance(node, ast.Call):
            name = ast.unparse(node)
            made_by = None if name in above else self._assigned.get(name)
            return self._maker(made_by, above | {name}) if made_by is not None else None
        if isinstance(node.func, ast.Attribute):
            owner = self._maker(node.func.value, above)
            if (made := MAKERS.get((owner or "", node.func.attr))) is not None:
                return made
        if _is_pool(node):
            return POOL
        return None if _is_in_memory(node) else self._dotted(node.func)

    @functools.cached_property
    def _assigned(self) -> Mapping[str, ast.Call]:
        """The calls whose results are assigned to names here, in the class or in the module."""
        module, owner = self.function.module, self.function.owner
        found = dict(_assignments(module.tree.body))
        for each in module.functions.values():
            names = {
                name for node in _own(each) if isinstance(node, ast.Global) for name in node.names
            }
            found |= {name: call for name, call in _assignments(_own(each)) if name in names}
        methods = self.source.methods(owner, module) if owner is not None else {}
        for method in methods.values():
            for name, value in _assignments(_own(method.node)):
                if name.startswith("self."):
                    found[name] = value
        return found | dict(_assignments(_own(self.function.node)))


def _own(scope: _Scope) -> Iterator[ast.AST]:
    """Yield what is in a function, nested functions but not what is in them."""
    waiting: list[ast.AST] = [scope.body] if isinstance(scope, ast.Lambda) else [*scope.body]
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, FunctionNode | ast.Lambda | ast.ClassDef):
            waiting[:0] = ast.iter_child_nodes(node)


def _calls(scope: _Scope) -> Iterator[ast.Call]:
    yield from (node for node in _own(scope) if isinstance(node, ast.Call))


def _without_partial(node: ast.expr) -> ast.expr:
    """Return the function that functools.partial() binds arguments of, or the same expression."""
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith("partial"):
        return node.args[0]
    return node


def _assignments(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.Call]]:
    """Yield what is assigned the result of a call: the name as it is written, and the call."""
    for node in nodes:
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        match node:
            case ast.Assign():
                targets, value = node.targets, node.value
            case ast.AnnAssign() | ast.NamedExpr():
                targets, value = [node.target], node.value
            case ast.withitem() if node.optional_vars is not None:
                targets, value = [node.optional_vars], node.context_expr
        if isinstance(value, ast.Call):
            yield from ((ast.unparse(target), value) for target in targets)


def _bound(scope: _Scope) -> Iterator[str]:
    """Yield the names that are a function's own: its parameters, and what it assigns."""
    for each in ast.walk(scope.args):
        if isinstance(each, ast.arg):
            yield each.arg
    for node in _own(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _is_endless(loop: ast.While) -> bool:
    """Tell whether a loop is without end: always true, and nothing in it leaves it."""
    if not isinstance(loop.test, ast.Constant) or not loop.test.value:
        return False
    return not any(_leaves(node) for node in loop.body)


def _leaves(node: ast.AST, *, inside: bool = False) -> bool:
    """Tell whether a statement leaves the loop around it, or the one around that if `inside`."""
    match node:
        case ast.Return() | ast.Raise() | ast.Yield() | ast.YieldFrom() | ast.Await():
            return True
        case ast.Break():
            return not inside
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
            return False
    inside = inside or isinstance(node, ast.While | ast.For)
    return any(_leaves(each, inside=inside) for each in ast.iter_child_nodes(node))


def _does_not_wait(call: ast.Call) -> bool:
    """Tell whether the arguments say that this call returns at once."""
    at_once = {"block": False, "blocking": False, "wait": False, "timeout": 0}
    for keyword in call.keywords:
        value = keyword.value
        if keyword.arg in at_once and isinstance(value, ast.Constant) and not value.value:
            return value.value is not None
    # select(…, 0) and wait(0), get(False) and get(True, 0).
    for each in (call.args[0], call.args[-1]) if call.args else ():
        if isinstance(each, ast.Constant) and each.value in (0, False):
            return True
    return "WNOHANG" in ast.unparse(call) or _is_in_memory(call)


def _is_in_memory(call: ast.Call) -> bool:
    """Tell whether a call opens an SQLite database that is in memory."""
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and first.value == ":memory:"


def _is_pool(call: ast.Call) -> bool:
    """Tell whether a call has a worker's pool for its result."""
    method = call.func
    return (
        isinstance(method, ast.Attribute)
        and method.attr == "pool"
        and ast.unparse(method.value).endswith("worker")
    )


def _first_line(node: ast.AST) -> str:
    line = ast.unparse(node).partition("\n")[0]
    return line if len(line) <= 60 else f"{line[:57]}..."

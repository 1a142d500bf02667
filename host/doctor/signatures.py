"""Compares the annotations of hooks with the specifications, and finds what looks like a hook."""

from __future__ import annotations

import ast
import builtins
import difflib
import inspect
from collections.abc import Iterable, Iterator

import host
from host import hookspecs
from host.doctor.rules import Finding
from host.doctor.source import Function, FunctionNode, HookFunction, Module, PluginSource
from host.plugin.binding import HOOKS
from host.plugin.checks import SLIP

_ANYTHING = frozenset(("object", "Any", "None"))
_SEQUENCES = frozenset(("Sequence", "Iterable", "Collection", "Reversible", "list", "tuple"))
_OTHER_COLLECTIONS = frozenset(("Mapping", "MutableMapping", "Set", "MutableSet"))
_GENERIC_HOMES = ("typing", "collections.abc")

OF_OTHERS = {
    "connection_made": "on_accept",
    "connectionMade": "on_accept",
    "data_received": "on_readable",
    "dataReceived": "on_readable",
    "datagram_received": "on_datagram",
    "datagramReceived": "on_datagram",
    "handle": "on_readable",
    "handle_stream": "on_readable",
    "connection_lost": "on_close",
    "connectionLost": "on_close",
    "post_fork": "on_worker_start",
    "post_worker_init": "on_worker_start",
    "worker_exit": "on_worker_stop",
    "child_exit": "on_child_exit",
    "when_ready": "on_host_start",
}
"""What other frameworks call the functions that they look for (asyncio, Twisted, socketserver,
Tornado, gunicorn), and the hook that does the same here."""


def check_signatures(source: PluginSource) -> Iterator[Finding]:
    """Yield what is wrong with the annotations of the host's own hooks."""
    for hook in source.hooks():
        if hook.hook in HOOKS:
            yield from _check_parameters(hook)
            yield from _check_answer(hook)


def check_lookalikes(source: PluginSource) -> Iterator[Finding]:
    """Yield the functions without a mark that look like hooks, and that nobody names.

    What the host itself refuses is left to it. A class with a base from elsewhere may override
    what that calls.
    """
    main, holder = source.main, source.holder
    if holder is not None and source.has_foreign_base(holder, main):
        return
    used = set(_names(main.tree))
    for node in main.tree.body if holder is None else holder.body:
        if not isinstance(node, FunctionNode) or node.decorator_list or node.name in used:
            continue
        meant = OF_OTHERS.get(node.name)
        shaped = node.name.startswith(("on_", "choose_"))
        refused = difflib.get_close_matches(node.name, HOOKS, 1, SLIP)
        if (meant or shaped) and not refused and not source.is_named_elsewhere(node.name):
            near = meant or next(iter(difflib.get_close_matches(node.name, HOOKS, 1, 0)), "")
            yield Finding(
                "looks-like-hook",
                f'"{node.name}" is not marked and nobody calls it here; the nearest hook: {near}',
                main.place(node),
                f"{node.name}()",
            )


def _check_parameters(hook: HookFunction) -> Iterator[Finding]:
    function, expected = hook.function, _annotations(hook.hook)
    given = function.node.args
    for parameter in (*given.posonlyargs, *given.args, *given.kwonlyargs):
        wanted = expected.get(parameter.arg)
        if wanted is not None and _contradicts(parameter.annotation, wanted, function.module):
            yield _contradiction(function, parameter.annotation, parameter.arg, wanted)


def _check_answer(hook: HookFunction) -> Iterator[Finding]:
    function, answer = hook.function, hook.function.node.returns
    if hook.is_wrapper or answer is None:
        return
    wanted = _annotations(hook.hook)["return"]
    if hook.hook.startswith("choose_"):
        if _contradicts(answer, wanted, function.module):
            yield _contradiction(function, answer, "what it returns", wanted)
    elif not _kinds(answer, function.module) <= _ANYTHING | {"NoReturn", "Never"}:
        yield Finding(
            "ignored-answer",
            f"what it returns ({ast.unparse(answer)}) is ignored",
            function.module.place(answer),
            f"{function.node.name}()",
        )


def _contradiction(
    function: Function, annotation: ast.expr | None, what: str, wanted: str
) -> Finding:
    assert annotation is not None
    return Finding(
        "wrong-annotation",
        f"{what} is annotated as {ast.unparse(annotation)}, and the host passes {wanted}"
        if what != "what it returns"
        else f"{what} is annotated as {ast.unparse(annotation)}, and the host wants {wanted}",
        function.module.place(annotation),
        f"{function.node.name}()",
    )


def _annotations(hook: str) -> dict[str, str]:
    """Return the annotations of a hook's specification, as they are written."""
    return inspect.get_annotations(getattr(hookspecs, hook))


def _contradicts(annotation: ast.expr | None, wanted: str, module: Module) -> bool:
    """Tell whether an annotation and the specification's have nothing in common.

    Only what is known to be something else does: types of Python, and the host's public names.
    """
    if annotation is None:
        return False
    given, meant = _kinds(annotation, module), set(_words(ast.parse(wanted, mode="eval").body))
    if not given or given & _ANYTHING - {"None"} or "" in given or given == {"None"}:
        return False
    if meant & _SEQUENCES:
        return not given & _SEQUENCES
    return not given & meant


def _kinds(annotation: ast.expr, module: Module) -> set[str]:
    """Return the types in an annotation, without what is in brackets; "" for one not known."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return {""}
    match annotation:
        case ast.Constant(value=None):
            return {"None"}
        case ast.BinOp(op=ast.BitOr()):
            return _kinds(annotation.left, module) | _kinds(annotation.right, module)
        case ast.Subscript():
            if ast.unparse(annotation.value).rpartition(".")[2] in ("Optional", "Union"):
                inner = annotation.slice
                parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                return set().union(*(_kinds(each, module) for each in parts))
            return _kinds(annotation.value, module)
    return {_kind(annotation, module)}


def _kind(node: ast.expr, module: Module) -> str:
    """Return the short name of a type that is known, or ""."""
    home, _, name = (module.dotted(node) or "").rpartition(".")
    if home == "builtins" and isinstance(getattr(builtins, name, None), type):
        return name
    if home.partition(".")[0] == "host" and name in host.__all__:
        return name
    known = _SEQUENCES | _OTHER_COLLECTIONS | _ANYTHING | {"NoReturn", "Never"}
    return name if home in _GENERIC_HOMES and name in known else ""


def _words(node: ast.expr) -> Iterable[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _names(tree: ast.AST) -> Iterator[str]:
    """Yield every name that is used somewhere: of variables, of attributes, and in texts."""
    for node in ast.walk(tree):
        match node:
            case ast.Name():
                yield node.id
            case ast.Attribute():
                yield node.attr
            case ast.Constant(value=str() as text):
                yield text

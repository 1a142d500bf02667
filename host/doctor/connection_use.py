"""Looks at what a plugin does with connections: that it reads them, and what it writes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from host.doctor.rules import Finding
from host.doctor.source import Function, HookFunction, PluginSource

_NAME = "connection"
"""What hooks call a connection; other functions of a plugin mostly do so, too."""


def check_connections(source: PluginSource) -> Iterator[Finding]:
    """Yield what is wrong in the use of connections."""
    for hook in source.hooks():
        if hook.hook == "on_readable" and not hook.is_wrapper:
            yield from _check_reading(hook)
    for function in source.functions():
        yield from _check_writing(function)


def _check_reading(hook: HookFunction) -> Iterator[Finding]:
    """Tell of a hook that leaves the connection alone: it would be called again for ever."""
    node = hook.function.node
    names = (each for part in node.body for each in ast.walk(part) if isinstance(each, ast.Name))
    if all(each.id != _NAME for each in names):
        yield Finding(
            "reads-nothing",
            "it never uses the connection, so nothing is read and it is called again at once",
            hook.function.module.place(node),
            f"{node.name}()",
        )


def _check_writing(function: Function) -> Iterator[Finding]:
    """Tell of text that is written: write() takes bytes, and raises for anything else."""
    arguments = function.node.args
    if _NAME not in {each.arg for each in (*arguments.posonlyargs, *arguments.args)}:
        return
    for node in ast.walk(function.node):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"{_NAME}.write":
            for each in node.args:
                if isinstance(each, ast.JoinedStr) or _is_text(each):
                    place = function.module.place(node)
                    yield Finding("writes-text", "write() takes bytes", place, ast.unparse(node))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)

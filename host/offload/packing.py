"""Tasks and answers as they are sent to processes of pools and come back, on the worker's side."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any

from host.interfaces import PicklingError
from host.offload.child import FUNCTION, RAISED, VALUE, text_of
from host.text import named

_NO_FUNCTION = FUNCTION.pack(0)
_functions: dict[FunctionType, bytes] = {}
"""What tasks begin with that call these functions."""
_MOST_FUNCTIONS = 1000


class RemoteTraceback(Exception):
    """Where a task has raised its error, in the process: the cause of that error."""

    def __init__(self, stack: str) -> None:
        super().__init__(stack)
        self._stack = stack

    def __str__(self) -> str:
        return f'\n"""\n{self._stack}"""'


def packed(
    name: str,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwds: dict[str, Any],
    items: list[Any] | None,
) -> tuple[bytes, bytes]:
    """Return a task of a pool as it is sent to a process: the function, and the rest.

    To pickle a function is to find where it is imported from, which takes three times as long as
    some arguments: what has come of it is kept. Other callables have an object, which may be among
    the arguments as well, and is pickled with them.

    Raises:
        PicklingError: its function or an argument cannot be pickled.
    """
    try:
        if type(func) is not FunctionType:
            return _NO_FUNCTION, pickle.dumps((func, args, kwds, items), pickle.HIGHEST_PROTOCOL)
        rest = pickle.dumps((None, args, kwds, items), pickle.HIGHEST_PROTOCOL)
        return _functions.get(func) or _pickled(func), rest
    except Exception as error:
        what = named(func)[1]
        raise PicklingError(
            f"a task of pool {name} cannot be passed to a process: {what} or its arguments cannot "
            f"be pickled ({text_of(error)}). The function must be one that can be "
            "imported by its name, and not a lambda or one within a function"
        ) from error


def _pickled(function: FunctionType) -> bytes:
    """Return what a task begins with that calls a function, and keep it."""
    found = pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
    if len(_functions) >= _MOST_FUNCTIONS:
        _functions.clear()
    made = _functions[function] = FUNCTION.pack(len(found)) + found
    return made


def unpacked(name: str, kind: int, data: bytes | bytearray) -> tuple[bool, Any]:
    """Return whether a task has returned something, and that, or the error that it has ended in."""
    try:
        if kind == VALUE:
            return True, pickle.loads(data)
        if kind == RAISED:
            error, stack = pickle.loads(data)
            if not isinstance(error, BaseException):
                raise TypeError(f"what was raised is no error here, but {type(error).__qualname__}")
            error.__cause__ = RemoteTraceback(stack)
            return False, error
    except BaseException as error:  # whatever it may do as it is made again
        text = f"the result of a task of pool {name} cannot be unpickled: {text_of(error)}"
        return False, PicklingError(text)
    return False, PicklingError(bytes(data).decode(errors="backslashreplace"))

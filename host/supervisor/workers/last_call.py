"""Says where a worker was when it died or hung: from its current call and its stacks."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence

from host.hookspecs import on_datagram
from host.interfaces import Listener
from host.ipc.current_call import CALLBACK, TASK, CurrentCall
from host.ipc.doing import NOTHING, Doing
from host.plugin.binding import Implementation
from host.plugin.registry import SERVING_HOOKS
from host.runtime.stacks import explanation, frames


class LastCall:
    """Knows which plugin's function is where.

    Args:
        calls: the implementations of each hook.
    """

    def __init__(self, calls: Mapping[str, Iterable[Implementation]]) -> None:
        self._calls = {hook: tuple(each) for hook, each in calls.items()}
        self._functions: dict[tuple[str, str], list[tuple[range, Implementation]]] = {}
        for implementations in self._calls.values():
            for each in implementations:
                code = getattr(inspect.unwrap(each.function), "__code__", None)
                if code is not None:
                    # As faulthandler writes names.
                    file, name = (
                        text.encode("ascii", "backslashreplace").decode()
                        for text in (code.co_filename, code.co_name)
                    )
                    lines = [line for _, _, line in code.co_lines() if line is not None]
                    span = range(code.co_firstlineno, max(lines, default=0) + 1)
                    self._functions.setdefault((file, name), []).append((span, each))

    def describe(
        self,
        pid: int,
        call: CurrentCall | None,
        stacks: str,
        listeners: Sequence[Listener],
        sender: str = "",
        doing: Doing = NOTHING,
    ) -> str:
        """Return plugin, hook, and connection or datagram of the call, as far as they are known.

        Args:
            pid: the worker's process id.
            call: what it said it was calling.
            stacks: what it has printed, or "".
            listeners: those of its generation.
            sender: whose datagram it handles, if it does.
            doing: what it has said last that it does for a connection.
        """
        found = self._in(stacks)
        if call is None:
            known = f"in hook {found.hook} of plugin {found.plugin}" if found else ""
            return known or f"outside any hook{_begun(pid, doing)}"
        listener = listeners[call.listener] if call.listener < len(listeners) else None
        hook = call.hook
        if call.called == TASK:
            said = explanation(stacks) or _of_task(pid, call, listener, doing)
            return f"in {hook} {said}" if said else f"in {hook}{_begun(pid, doing)}"
        if found is not None and found.hook == hook:
            plugin = found.plugin
        elif call.called == CALLBACK:
            return f"in hook {found.hook} of plugin {found.plugin}" if found else f"in {hook}"
        else:
            plugin = self._plugin(hook, listener)
        text = f"in hook {hook} of plugin {plugin}"
        if hook == on_datagram.__name__:
            return f"{text}, datagram from {sender}"
        return f"{text}, {_connection(pid, call.serial, doing)}" if call.serial else text

    def _in(self, stacks: str) -> Implementation | None:
        """Return the outermost implementation in the stacks: the one that the host has called."""
        last = None
        for file, line, name in frames(stacks):
            for span, each in self._functions.get((file, name), ()):
                if line in span:
                    last = each
        return last

    def _plugin(self, hook: str, listener: Listener | None) -> str:
        if hook in SERVING_HOOKS and listener is not None:
            return listener.plugin
        names = [each.plugin for each in self._calls.get(hook, ()) if not each.wrapper]
        return " or ".join(dict.fromkeys(names)) or "?"


def _of_task(pid: int, call: CurrentCall, listener: Listener | None, doing: Doing) -> str:
    """Say for whom a task runs that could not say it itself; "" if nobody knows."""
    if not call.serial or listener is None:
        return ""
    return f"of plugin {listener.plugin}, {_connection(pid, call.serial, doing)}"


def _connection(pid: int, serial: int, doing: Doing) -> str:
    """Name a connection, with what is done for it if that is known."""
    said = f", {doing.text}" if doing.serial == serial and doing.text else ""
    return f"connection {pid}-{serial}{said}"


def _begun(pid: int, doing: Doing) -> str:
    """Name the connection for which something was begun last, where nobody knows a better one.

    It may be done by a thread that holds the interpreter's lock, which no stack tells of.
    """
    if not (doing.serial and doing.text):
        return ""
    return f"; begun last: connection {pid}-{doing.serial}, {doing.text}"

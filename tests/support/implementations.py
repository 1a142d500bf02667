"""Implementations of hooks, as authors would write them, called by the host and by pluggy."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pluggy
from hypothesis import strategies as st

from host import hookspecs
from host.plugin.binding import HOOKS, Holder, Implementation, Manager

_BODIES = {
    "on_accept": [(), ("connection",)],
    "on_close": [
        (),
        ("connection",),
        ("reason",),
        ("connection", "reason"),
        ("reason", "connection"),
    ],
    "choose_worker": [(), ("workers",), ("listener", "workers"), ("workers", "listener")],
}


def _implementation(
    plugin: str,
    hook: str,
    function: Callable[..., Any],
    arguments: tuple[str, ...],
    **settings: bool,
) -> Implementation:
    return Implementation(plugin, hook, function, arguments, HOOKS[hook], hook, **settings)


class Log(list[Any]):
    """What happened, in order."""

    def report(
        self, plugin: str, hook: str, error: BaseException, args: tuple[object, ...]
    ) -> None:
        """Note a failure."""
        self.append(("failed", plugin, hook, str(error), args))


def _make(
    log: Log,
    name: str,
    hook: str,
    arguments: tuple[str, ...],
    answer: int | None,
    fails: type[BaseException] | None,
    wrapper: bool,
) -> Callable[..., Any]:
    """Make a function as an author would write it; it logs each call."""
    lines = [f"def {hook}({', '.join(arguments)}):"]
    lines.append(f"    log.append(({name!r}, {', '.join(arguments)}{',' if arguments else ''}))")
    if wrapper:
        lines.append("    outcome = yield")
        lines.append(f"    log.append(({name!r}, 'after', outcome))")
    if fails:
        lines.append(f"    raise error('{name} failed')")
    lines.append("    return outcome" if wrapper else "    return answer")
    names: dict[str, Any] = {"log": log, "answer": answer, "error": fails}
    exec("\n".join(lines), names)
    function: Callable[..., Any] = names[hook]
    return function


MEMBERS = st.lists(
    st.tuples(
        st.integers(0, 3),  # which of the argument lists
        st.sampled_from(["", "tryfirst", "trylast"]),
        st.sampled_from([None, None, 0, 1, 2]),  # the answer
        st.booleans(),  # wrapper
        st.sampled_from([None, None, ValueError, SystemExit]),
    ),
    max_size=6,
)
"""Draws the plugins that `build` writes."""


def build(
    members: Sequence[tuple[Any, ...]], hook: str, fail: bool = False, wrap: bool = True
) -> tuple[list[Implementation], Callable[..., Any], Log, Log]:
    """Write the same plugins once as the host finds them and once with plain pluggy.

    Args:
        members: what `MEMBERS` has drawn.
        hook: the hook that they implement.
        fail: whether those fail that are drawn to.
        wrap: whether those are wrappers that are drawn to be.

    Returns:
        The implementations in pluggy's order, pluggy's call of the hook, and a log for each of
        the two, the host's first.
    """
    host_log, pluggy_log = Log(), Log()
    manager = pluggy.PluginManager(hookspecs.NAMESPACE)
    manager.add_hookspecs(hookspecs)
    ours, theirs = [], {}
    for number, (body, order, answer, wrapper, error) in enumerate(members):
        name, arguments = f"p{number}", _BODIES[hook][body % len(_BODIES[hook])]
        settings = {
            "wrapper": wrapper and wrap,
            "tryfirst": order == "tryfirst",
            "trylast": order == "trylast",
        }
        fails = error if fail else None
        rest = (name, hook, arguments, answer, fails, settings["wrapper"])
        ours.append(_implementation(name, hook, _make(host_log, *rest), arguments, **settings))
        plugin = types.ModuleType(name)
        setattr(plugin, hook, hookspecs.hookimpl(**settings)(_make(pluggy_log, *rest)))
        theirs[name] = plugin
    for name in reversed(theirs):
        manager.register(theirs[name], name=name)
    own = Manager()
    for each in reversed(ours):
        own.register(Holder([each]), name=each.plugin)
    by_name = {each.plugin: each for each in ours}
    call = getattr(manager.hook, hook)
    registered = getattr(own.hook, hook).get_hookimpls()
    ordered = [by_name[each.plugin_name] for each in reversed(registered)]
    return ordered, call, host_log, pluggy_log


def implementation(
    plugin: str, function: Any, hook: str | None = None, **settings: bool
) -> Implementation:
    """Return a function as the host finds it; by itself it implements the hook of its name."""
    hook = hook or function.__name__
    code = function.__code__
    arguments = code.co_varnames[: code.co_argcount]
    return _implementation(plugin, hook, function, arguments, **settings)


def no_yield(connection: object) -> Iterator[None]:
    """Return before it has yielded, which a wrapper must not."""
    if connection is None:
        yield


def two_yields(connection: object) -> Iterator[None]:
    """Yield twice, which a wrapper must not."""
    yield
    yield


def fails_first(connection: object) -> Iterator[None]:
    """Raise before it has yielded."""
    raise LookupError("before")
    yield

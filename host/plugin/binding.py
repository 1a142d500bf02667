"""Hooks bound to the plugins that hear them, as cheap to call as a function.

Once plugins are frozen, who hears a hook is known, so it is worked out once. A pluggy call
costs over a microsecond and a direct one a tenth of that; pluggy's own call is left for hooks
that have wrappers and are not isolated. All ways behave alike: tests/unit/plugin/test_binding.py
and test_isolation.py compare them. What isolates those who hear a hook from each other is in
isolation.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CodeType
from typing import Any, NamedTuple, TypeVarTuple, cast

import pluggy

from host import hookspecs
from host.interfaces import Connection, Datagram, Listener, WorkerView
from host.text import in_words

Tell = Callable[..., bool]
"""Tells everyone entitled, with the hook's arguments by position; true if nobody failed."""

Timed = Callable[["Implementation"], Callable[..., Any]]
"""Returns what is called in the place of an implementation's function, to measure it."""

Scheduler = Callable[[Listener, Sequence[WorkerView]], WorkerView | None]

_Arguments = TypeVarTuple("_Arguments")


def specified(namespace: object) -> dict[str, tuple[str, ...]]:
    """Return the hooks that a module or class specifies, each with its arguments, in order."""
    return {
        name: tuple(each for each in inspect.signature(value).parameters if each != "self")
        for name, value in vars(namespace).items()
        if hasattr(value, f"{hookspecs.NAMESPACE}_spec")
    }


HOOKS: Mapping[str, tuple[str, ...]] = specified(hookspecs)
"""The host's own hooks and their arguments; a plugin may bring more (`Registry.brought`)."""


class Implementation(NamedTuple):
    """One plugin's function for one hook.

    Attributes:
        plugin: the plugin's name.
        hook: the hook's name.
        function: what is called; a method is bound already.
        arguments: the arguments that it takes, in its own order.
        expected: the arguments that the hook's specification has, in its order.
        attribute: the name it has in the plugin.
        wrapper: whether it runs around the others (a generator that yields once).
        tryfirst: whether it asks to come before those without a wish.
        trylast: whether it asks to come after them.
    """

    plugin: str
    hook: str
    function: Callable[..., object]
    arguments: tuple[str, ...]
    expected: tuple[str, ...]
    attribute: str
    wrapper: bool = False
    tryfirst: bool = False
    trylast: bool = False


class ListenerHooks(NamedTuple):
    """The hooks of one listener's connections.

    Attributes:
        on_accept: the listener's plugin first, then every plugin that is no protocol.
        on_readable: the function to call; it is not isolated, since the caller has to end the
            connection anyway. `blame` tells whose fault an exception is.
        on_close: heard by those who heard `on_accept`.
        on_drain, on_tls: the listener's plugin.
        on_datagram: as `on_readable`, for a UDP listener; None if nobody implements it.
        blame: the name of the plugin that an exception of one of these two comes from.
    """

    on_accept: Tell
    on_readable: Callable[[Connection], object]
    on_close: Tell
    on_drain: Tell
    on_tls: Tell
    on_datagram: Callable[[Datagram], object] | None
    blame: Callable[[BaseException], str]


class HostHooks(NamedTuple):
    """The hooks that belong to no listener; all plugins hear them.

    Attributes:
        bound: what tells each of them, by its specification.
        heard: the specifications of those that any plugin implements.
        schedulers: who is asked for a worker, in order, with the plugin's name. They are not
            isolated, unless a plugin wraps `choose_worker`: then there is one entry, named
            after the outermost wrapper, in which each failure is reported and counts as None.
    """

    bound: Mapping[Callable[..., object], Tell]
    heard: frozenset[Callable[..., object]]
    schedulers: tuple[tuple[str, Scheduler], ...]

    def tell(self, hook: Callable[[*_Arguments], None], *args: *_Arguments) -> bool:
        """Tell every plugin.

        Args:
            hook: the hook's specification, such as `hookspecs.on_worker_start`.
            args: the hook's arguments, in the order of the specification.

        Returns:
            Whether no plugin has failed.
        """
        return self.bound[hook](*args)


def measured(
    implementations: Sequence[Implementation], timed: Timed | None
) -> Sequence[Implementation]:
    """Return the same implementations, with functions that are measured if `timed` is given."""
    if timed is None:
        return implementations
    return [each._replace(function=timed(each)) for each in implementations]


def direct(implementation: Implementation) -> Callable[..., Any]:
    """Return a function that takes all of the hook's arguments by position.

    That is the implementation itself, unless it leaves out arguments or reorders them.
    """
    function, expected = implementation.function, implementation.expected
    positions = tuple(expected.index(name) for name in implementation.arguments)
    if positions == tuple(range(len(expected))):
        return function
    match positions:
        case ():
            return lambda *_: function()
        case (0,):
            return lambda first, *_: function(first)
        case (1,):
            return lambda _, second, *__: function(second)
        case (0, 1):
            return lambda first, second, *_: function(first, second)
        case _:
            return lambda *given: function(*[given[position] for position in positions])


def bound(
    implementations: Sequence[Implementation], *, namespace: object = None, first: bool = False
) -> Callable[..., Any]:
    """Bind a hook to be called without isolation; the arguments are given by position.

    That is the plugin's own function if there is but one, and pluggy's call if there are wrappers.

    Args:
        implementations: who is called, in order.
        namespace: where the hook is specified, if it is not one of the host's own.
        first: whether the first answer other than None ends the call and is its result.
    """
    if any(each.wrapper for each in implementations):
        call = chain(implementations, namespace)
        names = implementations[0].expected
        return lambda *args: call(**dict(zip(names, args, strict=True)))
    functions = [direct(each) for each in implementations]
    if len(functions) == 1:
        return functions[0]

    def call_all(*args: object) -> object:
        for function in functions:
            answer = function(*args)
            if first and answer is not None:
                return answer
        return None

    return call_all


def blame(error: BaseException, implementations: Iterable[Implementation], otherwise: str) -> str:
    """Name the plugin whose function is innermost in the error's traceback.

    A wrapper that lets an error pass is in the traceback too, further out.

    Args:
        error: what a call of these implementations raised.
        implementations: who may have raised it.
        otherwise: the answer if none of them is to be seen in it.
    """
    owners = {
        code: each.plugin for each in implementations if (code := _code(each.function)) is not None
    }
    found, step = None, error.__traceback__
    while step is not None:
        found = owners.get(step.tb_frame.f_code, found)
        step = step.tb_next
    if found is not None:
        return found
    # A wrapper that yields not once is pluggy's error, raised outside of it; its text has the
    # place of the wrapper, the same in 1.6 and 1.7.
    places = ((f"{code.co_filename}:{code.co_firstlineno} ", code) for code in owners)
    text = in_words(error)
    return next((owners[code] for place, code in places if place in text), otherwise)


def _code(function: Callable[..., object]) -> CodeType | None:
    return getattr(inspect.unwrap(function), "__code__", None)


class Manager(pluggy.PluginManager):
    """Pluggy's manager for implementations that the host has found and checked itself.

    Pluggy 1.6 and 1.7 find them in different ways (1.6 evaluates every property of a plugin,
    and does not see a marker above `@staticmethod`), and both need plugins that can be hashed
    and compared, which a dataclass need not be. So pluggy is handed a `Holder` in its place.
    """

    def __init__(self) -> None:
        super().__init__(hookspecs.NAMESPACE)
        self.add_hookspecs(hookspecs)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return what `plugin`, a `Holder`, says about its attribute `name`."""
        return plugin.marks.get(name) if isinstance(plugin, Holder) else None


class Holder:
    """What pluggy registers in the place of a plugin: implementations as plain attributes."""

    def __init__(self, implementations: Iterable[Implementation]) -> None:
        self.marks: dict[str, pluggy.HookimplOpts] = {}
        for each in implementations:
            vars(self)[each.attribute] = each.function
            self.marks[each.attribute] = {
                "specname": each.hook,
                "wrapper": each.wrapper,
                "hookwrapper": False,
                "optionalhook": False,
                "tryfirst": each.tryfirst,
                "trylast": each.trylast,
            }


def chain(implementations: Sequence[Implementation], namespace: object = None) -> pluggy.HookCaller:
    """Return pluggy's own call of exactly these implementations of one hook, in this order."""
    manager = Manager()
    if namespace is not None:
        manager.add_hookspecs(cast("type", namespace))
    # The last one registered is called first; the order is settled, so wishes no longer count.
    for number, each in reversed(list(enumerate(implementations))):
        plain = each._replace(tryfirst=False, trylast=False)
        manager.register(Holder([plain]), name=f"{each.plugin} {number}")
    return cast("pluggy.HookCaller", getattr(manager.hook, implementations[0].hook))

"""Hooks called so that one plugin's failure keeps no other plugin from being called.

Each failure is reported by the plugin's name. With a breaker, a plugin that keeps failing is
left out for a while; a plugin that has no circuit is called as directly as without one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from host.interfaces import Listener, WorkerView
from host.plugin.binding import Implementation, Scheduler, Tell, direct
from host.plugin.circuit_breaker import CircuitBreaker
from host.telemetry.emitter import ReportFailure
from host.text import shown


def no_plugins(*_: object) -> bool:
    """Tell nobody: what `isolated` returns for a hook that nobody hears."""
    return True


def isolated(
    hook: str,
    implementations: Sequence[Implementation],
    report: ReportFailure,
    breaker: CircuitBreaker | None = None,
) -> Tell:
    """Bind `hook` to those who hear it, given in the order in which they are called.

    Args:
        hook: the hook's name.
        implementations: who hears it.
        report: told of every failure.
        breaker: what leaves out those who keep failing; to be left out is not to fail.
    """
    if any(implementation.wrapper for implementation in implementations):
        wrapped = _Wrapped(hook, implementations, report, breaker)
        return lambda *args: wrapped(*args)[0]
    calls = [(each.plugin, _called(each, report, breaker)) for each in implementations]
    if not calls:
        return no_plugins
    if len(calls) == 1:
        return _tell_one(hook, *calls[0], report)

    def tell_all(*args: object) -> bool:
        fine = True
        for plugin, function in calls:
            try:
                function(*args)
            # A plugin may call sys.exit(): that must not end the worker of all the others.
            except BaseException as error:
                fine = False
                report(plugin, hook, error, args)
        return fine

    return tell_all


def _tell_one(hook: str, plugin: str, function: Callable[..., Any], report: ReportFailure) -> Tell:
    def tell_one(*args: object) -> bool:
        try:
            function(*args)
        except BaseException as error:
            report(plugin, hook, error, args)
            return False
        return True

    return tell_one


def _called(
    each: Implementation,
    report: ReportFailure,
    breaker: CircuitBreaker | None,
    function: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Return what is called for an implementation, or for a `function` that stands for it."""
    function = function or direct(each)
    return breaker.guard(each.plugin, each.hook, function, report) if breaker else function


def schedulers(
    implementations: Sequence[Implementation],
    report: ReportFailure,
    breaker: CircuitBreaker | None = None,
) -> tuple[tuple[str, Scheduler], ...]:
    """Bind `choose_worker`; see `HostHooks.schedulers`.

    A scheduler that `breaker` leaves out has no answer. What it raises is counted and passed on.
    """
    if not any(implementation.wrapper for implementation in implementations):
        return tuple((each.plugin, _called(each, report, breaker)) for each in implementations)
    wrapped = _Wrapped("choose_worker", implementations, report, breaker, asks=True)

    def ask(listener: Listener, workers: Sequence[WorkerView]) -> WorkerView | None:
        return cast("WorkerView | None", wrapped(listener, workers)[1])

    return ((implementations[0].plugin, ask),)


@dataclass(slots=True, eq=False)
class _Turn:
    """One call under way: its arguments, and whether nobody has failed so far."""

    args: tuple[object, ...]
    fine: bool = field(default=True)


class _Wrapped:
    """A hook with wrappers, in which nobody's failure keeps others from being called.

    It does what pluggy does: wrappers are entered in order, the others are called in order, and
    the wrappers are left in reverse, each with the result so far.

    Args:
        hook: the hook's name.
        implementations: who is called, in order.
        report: told of every failure.
        breaker: what leaves out those who keep failing.
        asks: whether the first answer other than None ends the call and is its result; else the
            result is the list of them.
    """

    __slots__ = ("_asks", "_breaker", "_call", "_hook", "_plain", "_report")

    def __init__(
        self,
        hook: str,
        implementations: Sequence[Implementation],
        report: ReportFailure,
        breaker: CircuitBreaker | None,
        *,
        asks: bool = False,
    ) -> None:
        self._hook, self._report, self._breaker = hook, report, breaker
        self._asks = asks
        self._plain = [
            (each.plugin, _called(each, report, breaker, _checked(direct(each)) if asks else None))
            for each in implementations
            if not each.wrapper
        ]
        call: Callable[[_Turn], object] = self._call_plain
        for each in reversed(implementations):
            if each.wrapper:
                call = self._around(each, call)
        self._call = call

    def __call__(self, *args: object) -> tuple[bool, object]:
        turn = _Turn(args)
        result = self._call(turn)
        return turn.fine, result

    def _fail(self, turn: _Turn, plugin: str, error: BaseException) -> None:
        turn.fine = False
        self._report(plugin, self._hook, error, turn.args)

    def _call_plain(self, turn: _Turn) -> object:
        """Call those who are no wrappers."""
        answers = []
        for plugin, function in self._plain:
            try:
                answer = function(*turn.args)
            except BaseException as error:
                self._fail(turn, plugin, error)
                continue
            if answer is not None:
                if self._asks:
                    return answer
                answers.append(answer)
        return None if self._asks else answers

    def _around(
        self, wrapper: Implementation, rest: Callable[[_Turn], object]
    ) -> Callable[[_Turn], object]:
        """Return a call of `rest` with the wrapper around it, and without it once it has failed."""
        plugin, function = wrapper.plugin, _wrapping(direct(wrapper))
        if self._breaker is not None:
            function = self._breaker.guard_wrapper(plugin, self._hook, function, self._report)

        def call(turn: _Turn) -> object:
            results: list[object] = []

            def inner() -> object:
                results.append(rest(turn))
                return results[0]

            try:
                return function(inner, *turn.args)
            except BaseException as error:
                self._fail(turn, plugin, error)
            return results[0] if results else rest(turn)

        return call


def _checked(function: Callable[..., object]) -> Callable[..., object]:
    """Refuse an answer that is no candidate here, where its author is still known."""

    def checked(listener: Listener, workers: Sequence[object]) -> object:
        answer = function(listener, workers)
        if answer is not None and answer not in workers:
            raise ValueError(f"the answer is none of the candidates: {shown(answer)}")
        return answer

    return checked


def _wrapping(generator: Callable[..., Generator[object, object, object]]) -> Callable[..., object]:
    """Return a wrapper as a function: its first argument is called where the wrapper yields."""

    def wrapping(inner: Callable[[], object], *args: object) -> object:
        wrapper = generator(*args)
        try:
            next(wrapper)
        except StopIteration:
            raise RuntimeError("the wrapper did not yield") from None
        try:
            wrapper.send(inner())
        except StopIteration as end:
            return end.value
        wrapper.close()
        raise RuntimeError("the wrapper yielded twice")

    return wrapping

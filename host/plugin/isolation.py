"""Hooks told and asked so that one plugin's failure keeps nobody else from being called.

Each failure is reported by the plugin's name. With a breaker, a plugin that keeps failing is
left out for a while; a plugin that has no circuit is called as directly as without one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from host.interfaces import Listener, WorkerView
from host.plugin.binding import Implementation, Scheduler, Tell, chain, direct
from host.plugin.circuit_breaker import CircuitBreaker
from host.telemetry.emitter import ReportFailure

_Wrapper = Generator[object, object, object]


def no_listeners(*_: object) -> bool:
    """Tell nobody: what `tell` returns for a hook that nobody hears."""
    return True


def tell(
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
        guarded = _Guarded(hook, implementations, report, breaker)
        return lambda *args: guarded(*args)[0]
    calls = [(each.plugin, _called(each, report, breaker)) for each in implementations]
    if not calls:
        return no_listeners
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
    each: Implementation, report: ReportFailure, breaker: CircuitBreaker | None
) -> Callable[..., Any]:
    function = direct(each)
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
    guarded = _Guarded("choose_worker", implementations, report, breaker)

    def ask(listener: Listener, workers: Sequence[WorkerView]) -> WorkerView | None:
        return cast("WorkerView | None", guarded(listener, workers)[1])

    return ((implementations[0].plugin, ask),)


@dataclass(slots=True)
class _Turn:
    """One call under way: its arguments, and whether nobody has failed so far."""

    args: tuple[object, ...]
    fine: bool = field(default=True)


class _Guarded:
    """Pluggy's call of one hook in which nobody's failure keeps others from being called."""

    __slots__ = ("_breaker", "_call", "_expected", "_hook", "_report", "_turns")

    def __init__(
        self,
        hook: str,
        implementations: Sequence[Implementation],
        report: ReportFailure,
        breaker: CircuitBreaker | None,
    ) -> None:
        self._hook, self._report, self._breaker = hook, report, breaker
        self._expected = implementations[0].expected
        self._turns: list[_Turn] = []  # a stack, since a hook may be told within itself
        self._call = chain(hook, implementations, self._guard)

    def __call__(self, *args: object) -> tuple[bool, object]:
        turn = _Turn(args)
        self._turns.append(turn)
        try:
            result = self._call(**dict(zip(self._expected, args, strict=True)))
        finally:
            self._turns.pop()
        return turn.fine, result

    def _fail(self, plugin: str, error: BaseException) -> None:
        turn = self._turns[-1]
        turn.fine = False
        self._report(plugin, self._hook, error, turn.args)

    def _slow(self, plugin: str, hook: str, error: BaseException, _: tuple[object, ...]) -> None:
        self._report(plugin, hook, error, self._turns[-1].args)

    def _guard(self, implementation: Implementation) -> Callable[..., object]:
        plugin, function = implementation.plugin, implementation.function
        if implementation.wrapper:
            return self._guard_wrapper(implementation)
        called = self._check(function) if self._hook == "choose_worker" else function
        if self._breaker is not None:
            called = self._breaker.guard(plugin, self._hook, called, self._slow)

        @functools.wraps(function)
        def guarded(*args: object) -> object:
            try:
                return called(*args)
            except BaseException as error:
                self._fail(plugin, error)
                return None

        return guarded

    def _check(self, function: Callable[..., object]) -> Callable[..., object]:
        """Refuse an answer that is no candidate here, where its author is still known."""

        def checked(*args: object) -> object:
            answer = function(*args)
            workers = cast("Sequence[object]", self._turns[-1].args[1])
            if answer is not None and answer not in workers:
                raise ValueError(f"the answer is none of the candidates: {answer!r}")
            return answer

        return checked

    def _guard_wrapper(self, implementation: Implementation) -> Callable[..., object]:
        """Go on without a wrapper that fails: as if it had only passed on what it was sent."""
        plugin, hook = implementation.plugin, self._hook
        function = cast("Callable[..., _Wrapper]", implementation.function)
        circuit = None if self._breaker is None else self._breaker.circuit(plugin)

        def failed(error: BaseException) -> None:
            self._fail(plugin, error)
            if circuit is not None:
                circuit.failed(hook)

        @functools.wraps(function)
        def guarded(*args: object) -> _Wrapper:
            began = circuit.begin() if circuit else 0.0
            if began is None:
                return (yield None)
            inner = _enter(function, args)
            if isinstance(inner, BaseException):
                failed(inner)
                return (yield None)
            left = circuit.now() if circuit else 0.0
            outcome = yield None
            paused = circuit.now() - left if circuit else 0.0
            result, error = _leave(inner, outcome)
            if error is not None:
                failed(error)
            elif circuit and (slow := circuit.ended(hook, began, paused)):
                self._slow(plugin, hook, slow, args)
            return result

        return guarded


def _enter(function: Callable[..., _Wrapper], args: tuple[object, ...]) -> _Wrapper | BaseException:
    """Run a wrapper up to its yield; return it, or what went wrong."""
    try:
        wrapper = function(*args)
        next(wrapper)
    except StopIteration:
        return RuntimeError("the wrapper did not yield")
    except BaseException as error:
        return error
    return wrapper


def _leave(wrapper: _Wrapper, outcome: object) -> tuple[object, BaseException | None]:
    """Run a wrapper from its yield to its end; return its result, and what went wrong."""
    try:
        wrapper.send(outcome)
        wrapper.close()
    except StopIteration as end:
        return end.value, None
    except BaseException as error:
        return outcome, error
    return outcome, RuntimeError("the wrapper yielded twice")

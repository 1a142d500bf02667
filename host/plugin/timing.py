"""Hooks with a clock around them, also those that are wrappers around others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any, cast

from host.plugin.binding import Implementation

Measure = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Returns what to call in the place of a function, to measure it."""

_Wrapper = Generator[object, object, object]


def timing(each: Implementation, time: Measure) -> Callable[..., Any]:
    """Return what to call in the place of a plugin's function, with the clock `time` around it.

    A wrapper is a generator that yields once. Its two parts are measured, each as a call, and not
    what is called while it waits.
    """
    if not each.wrapper:
        return functools.wraps(each.function)(time(each.function))
    function = cast("Callable[..., _Wrapper]", each.function)
    step = time(lambda call, *args: call(*args))

    @functools.wraps(function)
    def timed(*args: object) -> _Wrapper:
        inner = function(*args)
        try:
            answer = step(inner.__next__)
            while True:
                try:
                    sent = yield answer
                except BaseException as error:
                    answer = step(inner.throw, error)
                else:
                    answer = step(inner.send, sent)
        except StopIteration as end:
            return end.value

    return timed

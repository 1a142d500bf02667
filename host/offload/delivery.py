"""Who is told of a result that is over, and how."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

from host.offload.tasks import Result


class Owner(Protocol):
    """What a pool needs of a connection."""

    @property
    def closed(self) -> bool:
        """Whether it is closing, so that nobody can be answered."""

    def begin_answer(self) -> None:
        """Have it wait for an answer."""

    def end_answer(self) -> None:
        """Have it wait for one answer less."""

    def call_if_open(self, function: Callable[..., object], *args: object) -> None:
        """Call `function(self, *args)`, unless it is closing; an exception ends the connection."""

    def call_at_end(self, function: Callable[[], object]) -> None:
        """Call `function` when it has ended, unless all its answers have come by then."""


def deliver(result: Result, isolated: Callable[[Callable[[], object]], None]) -> None:
    """Call back who has asked for a result.

    Args:
        result: what is over and was not cancelled.
        isolated: calls what it is given so that an exception ends up in the log.
    """
    value, connection = result.value, result.share.connection
    callback = result.callback
    function = result.error_callback if result.has_failed else callback
    if function is None and callback is not None:
        function = functools.partial(_raise, value)
    if connection is not None:
        if function is not None:
            connection.call_if_open(function, value)
        connection.end_answer()
    elif function is not None:
        call = functools.partial(function, value)
        isolated(functools.update_wrapper(call, callback or function))


def _raise(error: BaseException, *_: object) -> None:
    raise error

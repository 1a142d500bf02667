"""Tables of the bus as a worker has them: `worker.bus.table(name)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from host.bus.frames import name_bytes
from host.bus.tables import MAX_VALUE_BYTES, NOT_DONE, Answer, Op, Request, unpack_items

Done = Callable[[bool | None], object]
_Answered = Callable[[Answer | None, dict[str, bytes]], object]


class Asked:
    """A question to a table that has no answer yet.

    Args:
        done: called with the answer, None if it is not known, and with the items that came before.
    """

    def __init__(self, done: _Answered) -> None:
        self._done = done
        self._items: dict[str, bytes] = {}

    def take_items(self, data: bytes) -> None:
        """Take in some of the items."""
        self._items.update((key.decode(), value) for key, value in unpack_items(data))

    def answer(self, answer: Answer | None) -> None:
        """Take in the answer; None if there is none."""
        self._done(answer, self._items)


class _Asks(Protocol):
    """What a table needs of the bus."""

    def ask_table(self, table: bytes, payload: bytes, asked: Asked) -> bool: ...

    def call_soon(self, function: Callable[..., object], *args: object) -> None: ...


class SharedTable:
    """A table; implements `host.Table`.

    Args:
        bus: sends what is asked.
        name: the name of the table.
    """

    def __init__(self, bus: _Asks, name: str) -> None:
        self._bus, self._name = bus, name_bytes(name)

    def get(self, key: str, done: Callable[[bool, bytes | None], object]) -> None:
        """Ask for the value of a key: whether it is known, and the value."""
        self._ask(Request(Op.GET, name_bytes(key)), lambda answer, _: done(*answer or NOT_DONE))

    def set(self, key: str, value: bytes, done: Done | None = None) -> None:
        """Give a key a value."""
        self._change(Request(Op.SET, name_bytes(key), _checked(value)), done)

    def delete(self, key: str, done: Done | None = None) -> None:
        """Have a key no value any more."""
        self._change(Request(Op.DELETE, name_bytes(key)), done)

    def compare_and_set(
        self, key: str, expected: bytes | None, value: bytes | None, done: Done
    ) -> None:
        """Give a key a value if it has the expected one."""
        asked = Request(Op.COMPARE_AND_SET, name_bytes(key), _checked(value), _checked(expected))
        self._change(asked, done)

    def items(self, done: Callable[[dict[str, bytes] | None], object]) -> None:
        """Ask for all keys with their values; None if they are not known."""
        self._ask(
            Request(Op.ITEMS), lambda answer, items: done(items if answer and answer.done else None)
        )

    def _change(self, request: Request, done: Done | None) -> None:
        tell = done or _nobody
        self._ask(request, lambda answer, _: tell(answer.done if answer else None))

    def _ask(self, request: Request, done: _Answered) -> None:
        if not self._bus.ask_table(self._name, request.pack(), Asked(done)):
            self._bus.call_soon(done, None, {})


def _nobody(_done: bool | None) -> None:
    """Have nobody hear of it."""


def _checked(value: bytes | None) -> bytes | None:
    if value is not None and len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"value of {len(value)} bytes: {MAX_VALUE_BYTES} at most")
    return value

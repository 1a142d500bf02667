"""Messages that a client confirms: what it has not confirmed yet, and what waits for room."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["DeliveryLimits", "DeliveryWindow"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """How much one client may have.

    Attributes:
        max_sent: how many items are sent without being confirmed.
        max_sent_bytes: no more is sent when those have so many bytes together.
        max_waiting: how many wait.
        max_waiting_bytes: how many bytes these have together.
        last_number: numbers begin again with 1 after it; greater than `max_sent`.
    """

    max_sent: int = 100
    max_sent_bytes: int = 4_194_304
    max_waiting: int = 10_000
    max_waiting_bytes: int = 16_777_216
    last_number: int = 65_535


class DeliveryWindow(Generic[Item]):
    """Numbers what is sent to a client, and keeps it until the client has confirmed the number.

        window = DeliveryWindow(send, len, DeliveryLimits())
        if not window.add(message):
            connection.close()       # it does not keep up
        window.confirm(number)       # it has that one: more may be sent

    It does no I/O, and knows no connection: it may outlive one.

    Args:
        send: called with a number and an item, in the order in which they were added.
        size: returns how many bytes an item has.
        limits: how much is sent, and how much waits.

    Attributes:
        sent: what is not confirmed, by its numbers, in the order in which it was sent.
        waiting: what was not sent since there is no room.
    """

    def __init__(
        self,
        send: Callable[[int, Item], object],
        size: Callable[[Item], int],
        limits: DeliveryLimits,
    ) -> None:
        self._send, self._size, self._limits = send, size, limits
        # At hand, as each item that is sent asks for them.
        self._max_sent, self._max_sent_bytes = limits.max_sent, limits.max_sent_bytes
        self._last_number = limits.last_number
        self._sent_bytes = self._waiting_bytes = self._number = 0
        self.sent: dict[int, Item] = {}
        self.waiting: deque[Item] = deque()

    def add(self, item: Item) -> bool:
        """Send an item, or have it wait for room; False if too much waits: then it is not kept."""
        size = self._size(item)
        if not self.waiting and self._has_room():
            self._send_now(item, size)
            return True
        limits, waiting_bytes = self._limits, self._waiting_bytes + size
        if len(self.waiting) >= limits.max_waiting or waiting_bytes > limits.max_waiting_bytes:
            return False
        self._waiting_bytes = waiting_bytes
        self.waiting.append(item)
        return True

    def confirm(self, number: int) -> None:
        """Forget an item that was sent; what waits is sent.

        Raises:
            KeyError: no item has this number.
        """
        self._sent_bytes -= self._size(self.sent.pop(number))
        if self.waiting:
            self._send_waiting()

    def replace(self, number: int, item: Item) -> None:
        """Have another item in place of one that was sent: the number remains in use.

        That is for protocols that confirm in two steps. Nothing is sent.

        Raises:
            KeyError: no item has this number.
        """
        self._sent_bytes += self._size(item) - self._size(self.sent[number])
        self.sent[number] = item

    def resume(
        self,
        sent: Mapping[int, Item],
        send_again: Callable[[int, Item], object],
        *,
        is_complete: bool,
    ) -> None:
        """Take up what was sent over an earlier connection.

        Args:
            sent: what the client had not confirmed.
            send_again: called with each number and item of it.
            is_complete: whether that is all. Else the client may remember numbers that nobody else
                does, as those of a worker that has died: then new ones go on from any one.
        """
        if not is_complete:
            self._number = random.randrange(self._last_number)
        for number, item in sent.items():
            self.sent[number] = item
            self._sent_bytes += self._size(item)
            send_again(number, item)
        self._send_waiting()

    def clear(self) -> None:
        """Forget all items, and `send`: the client has gone, and nobody needs them any more.

        The window and what sends mostly know each other, so only the garbage collector would free
        them. It counts objects, not bytes: all that waited would stay for long.
        """
        self.sent.clear()
        self.waiting.clear()
        self._sent_bytes = self._waiting_bytes = 0
        self._send = _nobody

    def unconfirmed(self) -> Iterable[Item]:
        """Return all that the client has not confirmed, in its order."""
        return (*self.sent.values(), *self.waiting)

    def _has_room(self) -> bool:
        return len(self.sent) < self._max_sent and self._sent_bytes < self._max_sent_bytes

    def _send_waiting(self) -> None:
        while self.waiting and self._has_room():
            item = self.waiting.popleft()
            size = self._size(item)
            self._waiting_bytes -= size
            self._send_now(item, size)

    def _send_now(self, item: Item, size: int) -> None:
        sent, last = self.sent, self._last_number
        number = self._number % last + 1
        while number in sent:
            number = number % last + 1
        self._number = number
        sent[number] = item
        self._sent_bytes += size
        self._send(number, item)


def _nobody(_number: int, _item: object) -> None:
    """Stand in for what has sent."""

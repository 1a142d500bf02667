"""Messages and other values as the broker has them: what is read of them, and what is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from host.bus.frames import MAX_NAME_BYTES, MAX_PAYLOAD_BYTES, with_sender
from host.bus.tables import MAX_VALUE_BYTES

_LONGEST_WORD = 64


class BrokerMessage(NamedTuple):
    """A message as the broker has it.

    Attributes:
        number: which one of all messages of the namespace it is.
        epoch: since when they are counted.
        topic: its topic.
        whole: sender and payload, as frames have them.
    """

    number: int
    epoch: bytes
    topic: bytes
    whole: bytes


_make_message: Callable[[tuple[int, bytes, bytes, bytes]], BrokerMessage]
_make_message = partial(tuple.__new__, BrokerMessage)
"""What `BrokerMessage` itself does, but it is a function of Python: that takes twice as long."""


def parse_message(data: Any) -> BrokerMessage | None:
    """Return what a message says; None if it is none: anyone may publish on a channel of Redis."""
    try:
        number, epoch, sender, length, rest = data.split(b" ", 4)
        size, count = int(length), int(number)
        topic, payload = rest[:size], rest[size:]
        topic.decode()
        sender.decode()
    except (ValueError, TypeError, AttributeError):
        return None
    if (
        0 < count < 2**53
        and 0 < len(sender) < 256
        and 0 < size == len(topic) <= MAX_NAME_BYTES
        and len(payload) <= MAX_PAYLOAD_BYTES
    ):
        return _make_message((count, epoch, topic, with_sender(sender, payload)))
    return None


def word(value: Any, most: int = _LONGEST_WORD) -> bytes:
    """Return a value that is some word of the broker, of at most so many bytes.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, bytes) or len(value) > most:
        raise TypeError(f"{type(value).__name__} for a word")
    return value


def is_item(key: Any, value: Any) -> bool:
    """Tell whether tables may have it: anyone may write to a hash of Redis."""
    try:
        key.decode()
    except (ValueError, AttributeError):
        return False
    return (
        0 < len(key) <= MAX_NAME_BYTES
        and isinstance(value, bytes)
        and len(value) <= MAX_VALUE_BYTES
    )

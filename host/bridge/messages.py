"""Messages as the broker has them: what is read of them, and what is none."""

from __future__ import annotations

from typing import Any, NamedTuple

from host.bus import frames
from host.bus.frames import with_sender


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
    is_one = (
        0 < count < 2**53
        and 0 < len(sender) < 256
        and size == len(topic)
        and 0 < size <= frames.MAX_NAME_BYTES
        and len(payload) <= frames.MAX_PAYLOAD_BYTES
    )
    return BrokerMessage(count, epoch, topic, with_sender(sender, payload)) if is_one else None

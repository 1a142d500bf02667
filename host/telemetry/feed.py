"""The feed: events of the log, handed on to the process that shows how the host is."""

from __future__ import annotations

import json
import socket

from host.telemetry.emitter import Record
from host.telemetry.events import Level
from host.telemetry.logs import message
from host.text import shortened

MOST_BYTES = 8192
"""The longest message of the feed."""
_MOST_CHARACTERS = 1000
"""Of a sentence; in JSON a character may take six bytes."""


class EventFeed:
    """Sends what operators should know of, in order, and never waits; a subscriber of `Telemetry`.

    All processes of the host send through one socket (SOCK_SEQPACKET, unix(7)), so each message
    arrives whole. What does not fit into its buffer, since nobody reads, is dropped and counted;
    the next message that fits tells how many there were.

    Args:
        sock: the socket; it stays the caller's.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._dropped = 0

    def __call__(self, record: Record) -> None:
        """Send an event, unless it is of no interest or one of those that a setting asks for."""
        if record.event.level < Level.INFO or record.event.asked_for:
            return
        shown = {
            "time": record.time,
            "level": record.event.level.name.lower(),
            "event": record.event.name,
            "message": shortened(message(record), _MOST_CHARACTERS),
            "slot": record.fields.get("slot"),
            "dropped": self._dropped,
        }
        try:
            self._sock.send(json.dumps(shown).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:  # its buffer is full, or nobody has the other end any more
            self._dropped += 1
        else:
            self._dropped = 0

"""PUBLISH and SUBSCRIBE: messages from clients to clients, over all workers."""

from __future__ import annotations

import re
import struct

from host import Counter, Message, Worker
from prefork_resp.patterns import compile_pattern
from prefork_resp.replies import CommandError, bulk, integer, push
from prefork_resp.session import ANY_NUMBER, Command, Session, Table, Words

TOPIC = "prefork_resp.messages"
MAX_MESSAGE_BYTES = 1_048_576 - 4
"""How long channel and message may be together: what a message of the bus holds, and its head."""
MAX_PATTERN_BYTES = 512
"""How long a pattern may be: to compile one takes time."""
_HEAD = struct.Struct("!I")


class Messages:
    """Who has subscribed in this worker, and the commands.

    A message goes to the clients of this worker at once, and over the bus to the other workers.

    Attributes:
        published: counts messages that clients of this worker have published.
        delivered: counts those that they were sent, once for each subscription.
    """

    published: Counter
    delivered: Counter

    def __init__(self) -> None:
        self._channels: dict[bytes, dict[Session, None]] = {}
        self._patterns: dict[bytes, tuple[re.Pattern[bytes], dict[Session, None]]] = {}
        self._worker: Worker

    def start(self, worker: Worker) -> None:
        """Begin to hear what is published in other workers."""
        self._worker = worker
        worker.bus.subscribe(TOPIC, self._on_message)

    def table(self) -> Table:
        """Return the commands by their names."""
        return {
            b"PUBLISH": Command(3, 3, self._publish),
            b"SUBSCRIBE": Command(2, ANY_NUMBER, self._subscribe),
            b"UNSUBSCRIBE": Command(1, ANY_NUMBER, self._unsubscribe),
            b"PSUBSCRIBE": Command(2, ANY_NUMBER, self._psubscribe),
            b"PUNSUBSCRIBE": Command(1, ANY_NUMBER, self._punsubscribe),
        }

    def forget(self, session: Session) -> None:
        """End all subscriptions of a client, without a word to it."""
        for channel in session.channels:
            self._leave_channel(session, channel)
        for pattern in session.patterns:
            self._leave_pattern(session, pattern)
        session.channels.clear()
        session.patterns.clear()

    def _publish(self, session: Session, words: Words) -> bytes:
        _, channel, message = words
        if len(channel) + len(message) > MAX_MESSAGE_BYTES:
            raise CommandError(b"ERR message longer than %d bytes" % MAX_MESSAGE_BYTES)
        self.published.add()
        self._worker.bus.publish(TOPIC, _HEAD.pack(len(channel)) + channel + message)
        count, own = self._deliver(channel, message, session)
        return own + integer(count)

    def _on_message(self, message: Message) -> None:
        """Deliver what another worker has published."""
        if message.sender != self._worker.bus.member:
            payload = message.payload
            end = _HEAD.size + _HEAD.unpack_from(payload)[0]
            self._deliver(payload[_HEAD.size : end], payload[end:])

    def _deliver(
        self, channel: bytes, message: bytes, sender: Session | None = None
    ) -> tuple[int, bytes]:
        """Send a message to the clients of this worker that hear it.

        Args:
            channel: where it was published.
            message: the message.
            sender: who has published it, if it is a client of this worker.

        Returns:
            How often it was sent, and what is for the sender itself: it goes before its reply.
        """
        groups = [(self._channels.get(channel, {}), [bulk(b"message")])]
        for pattern, (compiled, sessions) in self._patterns.items():
            if compiled.fullmatch(channel):
                groups.append((sessions, [bulk(b"pmessage"), bulk(pattern)]))
        end, count, own = [bulk(channel), bulk(message)], 0, b""
        for sessions, start in groups:
            forms = {version: push([*start, *end], version) for version in (2, 3) if sessions}
            for session in tuple(sessions):
                count += 1
                if session is sender:
                    own += forms[session.version]
                else:
                    session.connection.write(forms[session.version])
        self.delivered.add(count)
        return count, own

    def _subscribe(self, session: Session, words: Words) -> bytes:
        replies = []
        for channel in words[1:]:
            session.channels[channel] = None
            self._channels.setdefault(channel, {})[session] = None
            replies.append(_told(session, b"subscribe", channel))
        return b"".join(replies)

    def _psubscribe(self, session: Session, words: Words) -> bytes:
        if max(map(len, words[1:])) > MAX_PATTERN_BYTES:
            raise CommandError(b"ERR pattern longer than %d bytes" % MAX_PATTERN_BYTES)
        replies = []
        for pattern in words[1:]:
            session.patterns[pattern] = None
            if pattern not in self._patterns:
                self._patterns[pattern] = (compile_pattern(pattern), {})
            self._patterns[pattern][1][session] = None
            replies.append(_told(session, b"psubscribe", pattern))
        return b"".join(replies)

    def _unsubscribe(self, session: Session, words: Words) -> bytes:
        replies = []
        for channel in words[1:] or tuple(session.channels):
            if session.channels.pop(channel, channel) is None:
                self._leave_channel(session, channel)
            replies.append(_told(session, b"unsubscribe", channel))
        return b"".join(replies) or _told(session, b"unsubscribe", None)

    def _punsubscribe(self, session: Session, words: Words) -> bytes:
        replies = []
        for pattern in words[1:] or tuple(session.patterns):
            if session.patterns.pop(pattern, pattern) is None:
                self._leave_pattern(session, pattern)
            replies.append(_told(session, b"punsubscribe", pattern))
        return b"".join(replies) or _told(session, b"punsubscribe", None)

    def _leave_channel(self, session: Session, channel: bytes) -> None:
        sessions = self._channels[channel]
        del sessions[session]
        if not sessions:
            del self._channels[channel]

    def _leave_pattern(self, session: Session, pattern: bytes) -> None:
        sessions = self._patterns[pattern][1]
        del sessions[session]
        if not sessions:
            del self._patterns[pattern]


def _told(session: Session, what: bytes, name: bytes | None) -> bytes:
    """Tell a client what has become of a subscription, and how many it has now."""
    count = len(session.channels) + len(session.patterns)
    shown = session.null if name is None else bulk(name)
    return push([bulk(what), shown, integer(count)], session.version)

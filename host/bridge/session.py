"""What is done on one connection to a broker: questions of the hub become commands of Redis."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from host.bridge.calls import Broker, ScriptCalls
from host.bridge.entries import Entries
from host.bridge.link import Link, LinkError
from host.bridge.messages import BrokerMessage, is_item, parse_message, word
from host.bus import bridge_frames, frames, tables
from host.bus.bridge_frames import JOINED, SERIAL, Ask, Tell, pack_serials, unpack_names
from host.bus.frames import Frame, packed
from host.bus.tables import Op

_MESSAGE = int(Tell.MESSAGE)  # a number is had faster than a member of an enumeration
_PUBLISH_TOLD = int(Ask.PUBLISH_TOLD)
_PUBLISH = b"%b" + 5 * b"$%d\r\n%b\r\n"
"""The command that publishes: its beginning, and five words with their lengths."""
_HALF = 2**32 - 1
_GLOB = re.compile(rb"[\\*?\[\]^]")
_MOST_SERIALS = 10_000
"""So many are told in one frame."""
_FEW_BYTES = 1024
"""So long messages may wait to be confirmed if nobody wants to know: they fill no queue."""
_LEFT_OUT = 2
"""The answer of a script that has met such an entry, and has done without it what it can."""


class Session:
    """Speaks for a node on one connection; a new one has another session.

    Args:
        link: the connection.
        broker: what is at its end.
        put: takes a frame for the hub, packed.
        flush_soon: has `flush` called a moment later.
        entries: the entries of the bus that are somebody else's.

    Attributes:
        unanswered_beats: how many beats have no answer yet.
        done: how much was done that `flush` has not told yet.
    """

    def __init__(
        self,
        link: Link,
        broker: Broker,
        put: Callable[[bytes], object],
        flush_soon: Callable[[], object],
        entries: Entries,
    ) -> None:
        self._link, self._broker, self._put, self._flush_soon = link, broker, put, flush_soon
        self._scripts = ScriptCalls(link, broker, entries)
        self._run, self._suspect = self._scripts.run, self._scripts.suspect
        self._published = self._scripts.taking("publish", self._confirm)
        self._publishing = b""  # how a command begins that publishes, as soon as this has joined
        self._node = self._session = b""
        self._topics: set[bytes] = set()
        self._prefixes: dict[bytes, None] = {}
        self._number, self._epoch = 0, b""
        self._is_hearing = self._is_ready = False
        self.done = 0
        self._refused: list[int] = []
        self.unanswered_beats = 0
        self._questions: dict[int, Callable[[Frame], object]] = {
            Ask.OWN: self._own,
            Ask.OWN_AGAIN: self._own_again,
            Ask.LISTEN: self._listen,
            Ask.LISTEN_PREFIX: self._listen_prefix,
            Ask.UNLISTEN: self._unlisten,
            Ask.UNLISTEN_PREFIX: self._unlisten_prefix,
            Ask.RESUME: self._resume,
            Ask.RING: lambda frame: self._ask_retained("ring", frame),
            Ask.RINGS: lambda frame: self._ask_retained("rings", frame),
            Ask.PUBLISH: self._publish,
            Ask.PUBLISH_TOLD: self._publish,
            Ask.RELEASE: lambda frame: self._do("release", frame, frame.name),
            Ask.ENTER: lambda frame: self._do("enter", frame),
            Ask.LEAVE: lambda frame: self._do("leave", frame),
            Ask.TABLE: self._ask_table,
            Ask.CHANGE: self._change_table,
            Ask.READY: self._ready,
        }

    @property
    def scripts(self) -> ScriptCalls:
        """What runs them, and knows how that goes."""
        return self._scripts

    @property
    def has_joined(self) -> bool:
        """Whether the broker knows this session."""
        return bool(self._session)

    def handle(self, frame: Frame) -> None:
        """Do what the hub asks for; until it has said `JOIN` it speaks of another connection."""
        if frame.kind == Ask.JOIN:
            if frame.number == self._broker.connection:
                self._join(frame)
        elif self._session and (do := self._questions.get(frame.kind)) is not None:
            do(frame)

    def beat(self) -> None:
        """Tell the broker that this node is alive."""
        sent = frames.clock()
        self.unanswered_beats += 1
        self._run("beat", lambda reply: self._beaten(sent, reply), *self._self, self._lease_ms)
        self._scripts.look_again()

    def hear_no_more(self) -> None:
        """Tell the hub nothing more of what comes: there is none, or another one."""
        self._is_hearing = self._is_ready = False

    def end(self) -> None:
        """Have the node leave at once; when it has, no answer is missing on the link any more."""
        if self._session:
            self._run("end", lambda _: None, *self._self)

    def take_push(self, parts: Sequence[Any]) -> bool:
        """Take what the server sends by itself; False if it is no message, but should be one."""
        kind = parts[0] if parts else b""
        if kind not in (b"message", b"pmessage") or not self._is_hearing:
            return True  # what comes before all that was missed is known is in that, too
        data = parts[-1]
        if data == b"":
            return True  # somebody has tried whether that can be done (`trial`)
        message = parse_message(data)
        if message is None:
            return False
        if message.epoch != self._epoch:
            self._link.close("it has lost all it knew")
        elif message.number > self._number:  # or a topic and a prefix of it are both heard
            self._number = message.number
            self._pass_on(message)
        return True

    def flush(self) -> None:
        """Tell the hub what was done since the last time."""
        if self.done:
            self._tell_refused(self._refused)
            self._refused.clear()
            self._tell(Frame(Tell.DONE, self.done, b""))
            self.done = 0

    @property
    def _self(self) -> tuple[bytes, bytes]:
        return self._node, self._session

    @property
    def _lease_ms(self) -> int:
        return int(self._broker.lease_seconds * 1000)

    def _join(self, frame: Frame) -> None:
        self._node = self._scripts.node = frame.name

        def joined(reply: Any) -> None:
            session, last, known, alive, *refused = reply
            self._session = word(session)
            self._publishing = self._scripts.head("publish", *self._self, more=5)
            self._tell_refused(list(map(int, refused)))
            state = JOINED.pack(int(last), int(known), int(alive))
            self._tell(Frame(Tell.JOINED, 0, b"", state))
            self.beat()

        self._run("join", joined, frame.name, self._lease_ms, *frame.payload.split())

    def _tell_refused(self, serials: list[int]) -> None:
        for at in range(0, len(serials), _MOST_SERIALS):
            payload = pack_serials(serials[at : at + _MOST_SERIALS])
            self._tell(Frame(Tell.REFUSED, 0, b"", payload))

    def _beaten(self, sent: float, reply: Any) -> None:
        """Trust owned keys for the lease from before the beat was sent, less one beat."""
        self.unanswered_beats = 0
        number, epoch = int(reply[0]), word(reply[1])
        if not self._is_ready:
            return
        if epoch != self._epoch:
            raise LinkError("it has lost all it knew")
        self._number = max(self._number, number)
        until = sent + self._broker.lease_seconds * 2 / 3
        self._tell(Frame(Tell.TRUST, 0, b"", bridge_frames.TRUST.pack(until, self._number)))

    def _ready(self, _frame: Frame) -> None:
        self._is_ready = True
        self.beat()

    def _own(self, frame: Frame) -> None:
        def owned(reply: Any) -> None:
            self._tell(Frame(Tell.OWNED, 0, frame.name, self._fences([frame.payload], reply)))

        self._run("own", owned, *self._self, frame.payload, frame.name)

    def _own_again(self, frame: Frame) -> None:
        names = list(unpack_names(frame.payload))

        def owned(reply: Any) -> None:
            self._tell(Frame(Tell.OWNED_AGAIN, 0, b"", self._fences(names[::2], reply)))

        self._run("own", owned, *self._self, *names)

    def _fences(self, members: Sequence[bytes], reply: Any) -> bytes:
        """Return what each member is told of a key that it asks for."""
        for member, fence in zip(members, reply, strict=True):
            if fence == b"":
                self._suspect(b"keys:" + member, "set")
        return pack_serials(int(fence or 0) for fence in reply)

    def _channel(self, topic: bytes) -> bytes:
        return self._broker.prefix.encode() + b"live:" + topic

    def _pattern(self, prefix: bytes) -> bytes:
        escaped = _GLOB.sub(rb"\\\g<0>", self._channel(prefix))
        return escaped + b"*"

    def _listen(self, frame: Frame) -> None:
        topics = list(unpack_names(frame.payload))
        self._topics.update(topics)
        self._link.call(None, "SUBSCRIBE", *map(self._channel, topics))

    def _listen_prefix(self, frame: Frame) -> None:
        prefixes = list(unpack_names(frame.payload))
        self._prefixes.update(dict.fromkeys(prefixes))
        self._link.call(None, "PSUBSCRIBE", *map(self._pattern, prefixes))

    def _unlisten(self, frame: Frame) -> None:
        topics = list(unpack_names(frame.payload))
        self._topics.difference_update(topics)
        self._link.call(None, "UNSUBSCRIBE", *map(self._channel, topics))

    def _unlisten_prefix(self, frame: Frame) -> None:
        prefixes = list(unpack_names(frame.payload))
        for prefix in prefixes:
            self._prefixes.pop(prefix, None)
        self._link.call(None, "PUNSUBSCRIBE", *map(self._pattern, prefixes))

    def _hears(self, topic: bytes) -> bool:
        return topic in self._topics or any(map(topic.startswith, self._prefixes))

    def _pass_on(self, message: BrokerMessage) -> None:
        number, _, topic, whole = message
        self._put(packed(_MESSAGE, number & _HALF, topic, whole))

    def _tell(self, frame: Frame) -> None:
        self._put(frame.pack())

    def _resume(self, frame: Frame) -> None:
        """Read what was missed, page by page; what is pushed meanwhile is in a page, too."""
        run = self._broker.run + b":"
        epoch, heard = frame.payload[SERIAL.size :], -1
        if epoch.startswith(run):
            (heard,) = SERIAL.unpack_from(frame.payload)
        self._read_page(heard, epoch.removeprefix(run), is_first=not frame.payload)

    def _read_page(self, heard: int, epoch: bytes, *, is_first: bool) -> None:
        def read(reply: Any) -> None:
            number, now, lost, is_more, messages = reply
            for each in messages:
                message = parse_message(each)
                if message is not None and self._hears(message.topic):
                    self._pass_on(message)
            if is_more:
                self._read_page(int(number), epoch, is_first=False)
                return
            self._number, self._epoch, self._is_hearing = int(number), word(now), True
            place = SERIAL.pack(self._number) + self._broker.run + b":" + self._epoch
            self._tell(Frame(Tell.RESUMED, int(bool(lost) and not is_first), b"", place))

        self._run("resume", read, heard, epoch)

    def _ask_retained(self, script: str, frame: Frame) -> None:
        def misled(topic: bytes) -> None:
            self._suspect(b"ring:" + topic, "list")

        def lost() -> None:
            misled(frame.name)
            self._tell(Frame(Tell.HEARD, frame.number, b"lost"))

        def retained(reply: Any) -> None:
            left, messages, *foreign_topic = reply
            if foreign_topic:
                (topic,) = foreign_topic
                misled(word(topic, frames.MAX_NAME_BYTES))
            for each in messages:
                if (message := parse_message(each)) is not None:
                    self._tell(Frame(Tell.RETAINED, frame.number, message.topic, message.whole))
            self._tell(Frame(Tell.HEARD, frame.number, b"lost" if left else b""))

        self._run(script, retained, frame.name, misled=lost if script == "ring" else None)

    def _publish(self, frame: Frame) -> None:
        """Write the command here: that is the half of what packing all its words anew takes."""
        kind, retained, topic, data = frame
        start = SERIAL.size + 1
        end = start + data[start - 1]
        (number,) = SERIAL.unpack_from(data)
        serial, sender, payload = b"%d" % number, data[start:end], data[end:]
        done, keep = self._published, b"%d" % retained
        if retained:

            def published(reply: Any) -> None:
                if reply == _LEFT_OUT:
                    self._suspect(b"ring:" + topic, "list")
                self._confirm(reply)

            done = self._scripts.taking("publish", published)
        written = _PUBLISH % (
            self._publishing,
            *(len(serial), serial),
            *(len(topic), topic),
            *(len(sender), sender),
            *(len(keep), keep),
            *(len(payload), payload),
        )
        is_urgent = kind == _PUBLISH_TOLD or len(payload) > _FEW_BYTES
        self._link.send(done, written, is_urgent=is_urgent)

    def _do(self, script: str, frame: Frame, *more: bytes) -> None:
        (serial,) = SERIAL.unpack_from(frame.payload)
        member = frame.payload[SERIAL.size :]
        self._run(script, self._confirm, *self._self, serial, member, *more)

    def _confirm(self, _reply: Any) -> None:
        self.done += 1
        self._flush_soon()

    def _ask_table(self, frame: Frame) -> None:
        request = tables.Request.unpack(frame.payload)

        def answer(reply: tables.Answer) -> None:
            self.flush()  # answers come in the order in which was asked
            self._tell(Frame(Tell.ANSWER, frame.number, b"", reply.pack()))

        def items(reply: Any) -> None:
            pairs = zip(reply[::2], reply[1::2], strict=True)
            found = (pair for pair in pairs if is_item(*pair))
            for piece in tables.pack_items(found):
                self._tell(Frame(Tell.ITEMS, frame.number, b"", piece))
            answer(tables.DONE)

        def got(reply: Any) -> None:
            is_known = reply is None or is_item(request.key, reply)
            answer(tables.Answer(done=True, value=reply) if is_known else tables.NOT_DONE)

        def misled() -> None:
            self._suspect(b"table:" + frame.name, "hash")
            answer(tables.NOT_DONE)

        if request.op == Op.GET:
            self._run("get", got, frame.name, request.key, misled=misled)
        else:
            self._run("items", items, frame.name, misled=misled)

    def _change_table(self, frame: Frame) -> None:
        (serial,) = SERIAL.unpack_from(frame.payload)
        request = tables.Request.unpack(frame.payload[SERIAL.size :])
        expected = _marked(request.expected) if request.op == Op.COMPARE_AND_SET else b"*"

        def changed(reply: Any) -> None:
            if reply == _LEFT_OUT:
                self._suspect(b"table:" + frame.name, "hash")
            if reply != 1:
                self._refused.append(serial)
            self._confirm(reply)

        arguments = (serial, frame.number, frame.name, request.key)
        self._run("put", changed, *self._self, *arguments, _marked(request.value), expected)


def _marked(value: bytes | None) -> bytes:
    return b"" if value is None else b"=" + value

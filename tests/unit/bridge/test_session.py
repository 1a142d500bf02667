"""What is read of a broker: anyone may publish on its channels, so each message is looked at."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.bridge.entries import Entries
from host.bridge.messages import parse_message
from host.bridge.scripts import SCRIPTS
from host.bridge.session import Broker, Session
from host.bus.bridge_frames import SERIAL, Ask, Tell, pack_names
from host.bus.frames import (
    MAX_NAME_BYTES,
    MAX_PAYLOAD_BYTES,
    Frame,
    Parser,
    split_sender,
    with_sender,
)
from host.bus.tables import MAX_VALUE_BYTES, Answer, Op, Request, unpack_items

TEXT = st.text(min_size=1, max_size=60).map(str.encode)
SENDER = st.text("abc.:0123456789", min_size=1, max_size=60).map(str.encode)


def message(number, epoch, sender, topic, payload):
    return b"%d %s %s %d %s" % (number, epoch, sender, len(topic), topic + payload)


@given(st.integers(1, 2**53 - 1), SENDER, TEXT, st.binary(max_size=200))
def test_what_was_written_is_read(number, sender, topic, payload):
    found = parse_message(message(number, b"17", sender, topic, payload))
    assert (found.number, found.epoch, found.topic) == (number, b"17", topic)
    assert split_sender(found.whole) == (sender.decode(), payload)


@given(st.binary(max_size=100))
def test_rubbish_is_no_message_or_one_within_limits(data):
    found = parse_message(data)
    assert found is None or 0 < len(found.topic) <= MAX_NAME_BYTES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1 2 3 4",
        b"x 17 a:1 1 t",
        b"0 17 a:1 1 t",
        b"-1 17 a:1 1 t",
        b"9007199254740993 17 a:1 1 t",
        b"1 17 a:1 0 t",
        b"1 17 a:1 -1 t",
        b"1 17 a:1 2 t",
        b"1 17  1 t",
        b"1 17 \xff 1 t",
        b"1 17 a:1 1 \xff",
        message(1, b"17", b"a" * 256, b"t", b""),
        message(1, b"17", b"a:1", b"t" * (MAX_NAME_BYTES + 1), b""),
        message(1, b"17", b"a:1", b"t", bytes(MAX_PAYLOAD_BYTES + 1)),
    ],
)
def test_what_is_none_is_dropped(data):
    assert parse_message(data) is None


def words_of(written):
    """Return the words of a command that is written: all of them, and nothing behind them."""
    reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
    reader.feed(written)
    words = reader.gets()
    assert reader.gets() is False
    return words


class FakeLink:
    """Has what was asked for, and whether it was closed."""

    def __init__(self):
        self.asked, self.causes, self.urgent = [], [], []
        self.written = b""

    def call(self, done, *command, is_urgent=True):
        self.asked.append((command[1], done))
        self.urgent.append(is_urgent)

    def send(self, done, written, *, is_urgent):
        self.written = written
        self.call(done, *words_of(written), is_urgent=is_urgent)

    def close(self, cause):
        self.causes.append(cause)


class Conversation:
    """A session that is ready, and what it has told the hub."""

    def __init__(self):
        self.link, self.told, self.foreign = FakeLink(), [], []
        digests = {name: name for name in SCRIPTS}
        broker = Broker(1, b"run", digests, "p:", lease_seconds=1.0)
        entries = Entries("p:", self.foreign.append)
        self.session = Session(self.link, broker, self.take, lambda: None, entries)
        self.session.handle(Frame(Ask.JOIN, 1, b"n"))
        self.answer([b"1", b"0", b"5", b"6"])
        self.answer([b"0", b"17"])  # to the first beat
        self.session.handle(Frame(Ask.RESUME, 0, b""))
        self.answer([b"0", b"17", 0, 0, []])
        self.session.handle(Frame(Ask.READY, 0, b""))
        self.answer([b"0", b"17"])

    def take(self, packed):
        self.told += Parser(packed).frames()

    def answer(self, reply):
        """Answer what was asked first; return which script that was."""
        script, done = self.link.asked.pop(0)
        done(reply)
        return script

    def ask_everything(self):
        serial = SERIAL.pack(1)
        for ask, name, payload in (
            (Ask.OWN, b"k", b"n:1"),
            (Ask.OWN_AGAIN, b"", b"".join(pack_names([b"n:1", b"k"]))),
            (Ask.RESUME, b"", b""),
            (Ask.RING, b"t", b""),
            (Ask.RINGS, b"t", b""),
            (Ask.PUBLISH, b"t", serial + b"\x03n:1x"),
            (Ask.RELEASE, b"k", serial + b"n:1"),
            (Ask.ENTER, b"", serial + b"n:1"),
            (Ask.LEAVE, b"", serial + b"n:1"),
            (Ask.CHANGE, b"t", serial + Request(Op.SET, b"k", b"v").pack()),
            (Ask.TABLE, b"t", Request(Op.GET, b"k").pack()),
            (Ask.TABLE, b"t", Request(Op.ITEMS).pack()),
        ):
            self.session.handle(Frame(ask, 1, name, payload))
        self.session.beat()

    def read(self, question, reply):
        """Return what is told of what a table answers."""
        self.session.handle(Frame(Ask.TABLE, 7, b"t", question.pack()))
        self.told.clear()
        self.answer(reply)
        return self.told


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.binary(), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(ANYTHING, min_size=13, max_size=13))
def test_answers_that_are_none_end_the_connection_or_are_taken(replies):
    conversation = Conversation()
    conversation.ask_everything()
    for reply in replies:
        conversation.answer(reply)
    assert all(conversation.link.causes)


@given(st.lists(ANYTHING, max_size=4))
def test_pushes_that_are_none_are_dropped(parts):
    conversation = Conversation()
    for kind in ([], [b"message"], [b"pmessage", b"p"]):
        assert conversation.session.take_push([*kind, *parts]) in (True, False)
    assert not conversation.told[3:]


FOREIGN = [
    (b"\xff", b"v"),
    (b"", b"v"),
    (b"k" * (MAX_NAME_BYTES + 1), b"v"),
    (b"k" * 70_000, b"v"),
    (b"k", bytes(MAX_VALUE_BYTES + 1)),
    (b"k", 5),
    (5, b"v"),
]


@pytest.mark.parametrize(("key", "value"), FOREIGN)
def test_what_no_table_can_have_is_not_told(key, value):
    """Anyone may write to a hash of Redis: a worker would end with a key that is no text."""
    items, answer = Conversation().read(
        Request(Op.ITEMS), [b"mine", b"1", key, value, b"also mine", b"2"]
    )
    assert list(unpack_items(items.payload)) == [(b"mine", b"1"), (b"also mine", b"2")]
    assert Answer.unpack(answer.payload) == Answer(done=True)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, Answer(done=True)),
        (b"v", Answer(done=True, value=b"v")),
        (bytes(MAX_VALUE_BYTES + 1), Answer(done=False)),
        (5, Answer(done=False)),
    ],
)
def test_a_value_that_no_table_can_have_is_not_known(value, answer):
    (told,) = Conversation().read(Request(Op.GET, b"k"), value)
    assert told.kind == Tell.ANSWER
    assert Answer.unpack(told.payload) == answer


def test_who_tries_whether_it_may_publish_is_not_taken_for_somebody_else():
    conversation = Conversation()
    assert conversation.session.take_push([b"message", b"p:live:check:1", b""])
    assert not conversation.session.take_push([b"message", b"p:live:check:1", b"x"])


@pytest.mark.parametrize(
    ("ask", "size", "is_urgent"),
    [
        (Ask.PUBLISH, 100, False),
        (Ask.PUBLISH, 100_000, True),
        (Ask.PUBLISH_TOLD, 100, True),
        (Ask.RELEASE, 100, True),
    ],
)
def test_only_short_messages_of_which_nobody_waits_to_be_told_are_not_urgent(ask, size, is_urgent):
    conversation = Conversation()
    payload = SERIAL.pack(1) + b"\x03n:1" + bytes(size)
    conversation.session.handle(Frame(ask, 0, b"t", payload))
    assert conversation.link.urgent[-1] is is_urgent


@given(
    st.integers(1, 2**63),
    st.binary(min_size=1, max_size=600),
    SENDER,
    st.integers(0, 2000),
    st.binary(max_size=300),
)
def test_a_message_is_written_as_any_other_command(serial, topic, sender, keep, payload):
    conversation = Conversation()
    whole = SERIAL.pack(serial) + with_sender(sender, payload)
    conversation.session.handle(Frame(Ask.PUBLISH, keep, topic, whole))
    words = ("EVALSHA", "publish", 1, "p:", b"n", b"1", serial, topic, sender, keep, payload)
    assert conversation.link.written == hiredis.pack_command(words)

"""Commands and replies: those that nobody waits for wake nobody."""

import pytest

from host.bridge.link import Link
from host.bridge.wire import PlainWire


class PatientWire(PlainWire):
    """Has what was sent, and whether it would wait for more."""

    def __init__(self):
        self.sent, self.patient = b"", None

    def is_closing(self):
        return False

    def be_patient(self, *, patient):
        self.patient = patient

    def write(self, data):
        self.sent += data


class Talk:
    """A link, its wire, and the replies that have come."""

    def __init__(self):
        self.wire, self.replies, self.pushed = PatientWire(), [], []
        self.link = Link(self.pushed.append, lambda _: None, lambda: None)
        self.link.begin(self.wire)
        self.ask(is_urgent=True)
        self.hear(b":1\r\n")

    def ask(self, *, is_urgent):
        self.link.is_gathering = True
        self.link.call(self.replies.append, "PING", is_urgent=is_urgent)
        self.link.flush()

    def hear(self, data):
        self.link.take(data)


@pytest.fixture
def talk():
    return Talk()


def test_a_reply_that_somebody_waits_for_is_read_at_once(talk):
    talk.ask(is_urgent=False)
    assert talk.wire.patient
    talk.ask(is_urgent=True)
    assert not talk.wire.patient
    talk.ask(is_urgent=False)
    assert not talk.wire.patient, "the one before it is not answered yet"
    talk.hear(b":1\r\n:1\r\n:1\r\n")
    talk.ask(is_urgent=False)
    assert talk.wire.patient
    talk.hear(b":1\r\n")
    assert talk.replies == [1] * 5


WHOLE = b">2\r\n+message\r\n$8\r\n:1\r\n:1\r\n\r\n:1\r\n"


@pytest.mark.parametrize("size", range(1, len(WHOLE)))
def test_the_rest_of_what_has_come_is_read_at_once(talk, size):
    """It may be short, and nothing else may come for long."""
    talk.ask(is_urgent=False)
    talk.hear(b":1\r\n")
    talk.ask(is_urgent=False)
    assert talk.wire.patient
    talk.hear(WHOLE[:size])
    assert not talk.wire.patient
    talk.ask(is_urgent=False)
    assert not talk.wire.patient
    talk.hear(WHOLE[size:] + b":1\r\n")
    assert talk.pushed == [[b"message", b":1\r\n:1\r\n"]]
    talk.ask(is_urgent=False)
    talk.hear(b":1\r\n")
    talk.ask(is_urgent=False)
    assert talk.wire.patient


@pytest.mark.parametrize("size", range(1, len(WHOLE)))
def test_a_piece_in_the_middle_is_not_taken_for_something_whole(talk, size):
    for _ in range(5):
        talk.ask(is_urgent=False)
    talk.hear(WHOLE[:size])
    for at in range(size, len(WHOLE) - 1):
        talk.hear(WHOLE[at : at + 1])
        talk.ask(is_urgent=False)
        assert not talk.wire.patient


def test_replies_that_nobody_has_waited_for_are_read_when_asked_for(talk):
    talk.ask(is_urgent=False)
    talk.link.hurry()
    assert not talk.wire.patient

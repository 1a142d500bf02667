"""What is read of a broker: anyone may publish on its channels, so each message is looked at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.bridge.session import parse_message
from host.bus.frames import MAX_NAME_BYTES, MAX_PAYLOAD_BYTES, split_sender

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

"""Packets: what is read is what was written, and whatever else comes is refused in one way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judges.load import connect, packet, publish, subscribe, text
from prefork_mqtt.packets import (
    Connect,
    Kind,
    Publish,
    Refusal,
    RefusedError,
    connack,
    kind_of,
    numbered,
    publish_head,
    read_connect,
    read_packet_id,
    read_publish,
    read_subscribe,
    read_unsubscribe,
    suback,
)

from host.plugins.framing import FrameSyntaxError, VarintFramer

READERS = (read_connect, read_publish, read_packet_id, read_subscribe, read_unsubscribe, kind_of)


def body_of(data):
    """Return a packet as the framer hands it out."""
    (found,) = VarintFramer(before=1, longest=4).feed(data)
    return found


topics = st.text(
    st.characters(exclude_characters="+#\0", exclude_categories=["Cs"]), min_size=1, max_size=50
)


@given(topics, st.binary(max_size=300), st.integers(0, 2), st.booleans(), st.integers(1, 65_535))
def test_a_publish_that_is_written_is_read(topic, payload, qos, retain, number):
    head = publish_head(topic, len(payload), qos, retain=retain)
    written = head + (number.to_bytes(2, "big") if qos else b"") + payload
    assert read_publish(body_of(written)) == Publish(
        topic, payload, qos, retain, number if qos else 0
    )


def test_a_connect_with_everything():
    fields = text("MQTT") + bytes((4, 0b1110_1110, 0, 60)) + text("me")
    fields += text("last/words") + text("bye") + text("name") + text("secret")
    will = Publish("last/words", b"bye", 1, True)
    expected = Connect("me", True, 60, will, "name", b"secret")
    assert read_connect(body_of(packet(0x10, fields))) == expected
    assert read_connect(body_of(connect("me", clean=False))) == Connect(
        "me", False, 0, None, None, None
    )


@pytest.mark.parametrize(
    ("name", "level", "flags", "client_id", "refusal"),
    [
        ("MQTT", 5, 2, "a", Refusal.PROTOCOL),
        ("MQIsdp", 3, 2, "a", Refusal.PROTOCOL),
        ("MQTT", 4, 0, "", Refusal.IDENTIFIER),
    ],
)
def test_who_must_be_told_why(name, level, flags, client_id, refusal):
    body = packet(0x10, text(name) + bytes((level, flags, 0, 0)) + text(client_id))
    with pytest.raises(RefusedError) as error:
        read_connect(body_of(body))
    assert error.value.refusal == refusal
    assert connack(refusal) == bytes((0x20, 2, 0, refusal))


@pytest.mark.parametrize("flags", [0b1, 0b1_1100, 0b1000, 0b10_0000, 0b0100_0000])
def test_flags_that_contradict_each_other(flags):
    with pytest.raises(FrameSyntaxError):
        read_connect(body_of(packet(0x10, text("MQTT") + bytes((4, flags, 0, 0)) + text("a"))))


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        (read_publish, publish("a/+", b"")),
        (read_publish, publish("", b"")),
        (read_publish, publish("a\0", b"")),
        (read_publish, publish("a", b"", 1, 0)),
        (read_publish, packet(0x36, text("a") + b"\0\1")),  # QoS 3
        (read_publish, packet(0x38, text("a"))),  # QoS 0, and comes again
        (read_publish, packet(0x30, b"\0\x05abc")),
        (read_publish, packet(0x30, b"\0\x01\xff")),
        (read_publish, packet(0x32, text("a") + b"\1")),
        (read_publish, packet(0x30, b"")),
        (read_packet_id, packet(0x40, b"\0\0")),
        (read_packet_id, packet(0x40, b"\0\1\0")),
        (read_packet_id, packet(0x40, b"\0")),
        (read_subscribe, packet(0x82, b"\0\1")),
        (read_subscribe, subscribe("a#", 0)),
        (read_subscribe, subscribe("#/a", 0)),
        (read_subscribe, subscribe("a/b+", 0)),
        (read_subscribe, subscribe("", 0)),
        (read_subscribe, subscribe("a", 3)),
        (read_unsubscribe, packet(0xA2, b"\0\1")),
        (read_connect, packet(0x10, text("HTTP") + bytes((4, 2, 0, 0)) + text("a"))),
        (read_connect, packet(0x10, text("MQTT") + bytes((4, 2, 0, 0)) + b"\0\1\xff")),
        (kind_of, packet(0x80, b"\0\1")),
        (kind_of, packet(0x60, b"\0\1")),
        (kind_of, packet(0xC1, b"")),
    ],
)
def test_what_is_no_packet(reader, data):
    with pytest.raises(FrameSyntaxError):
        reader(body_of(data))


def test_several_filters():
    body = b"\x01\x02" + text("a/+") + b"\1" + text("#") + b"\2"
    assert read_subscribe(body_of(packet(0x82, body))) == (258, [("a/+", 1), ("#", 2)])
    body = b"\x01\x02" + text("a/+") + text("#")
    assert read_unsubscribe(body_of(packet(0xA2, body))) == (258, ["a/+", "#"])
    assert suback(258, [1, None, 0]) == b"\x90\x05\x01\x02\x01\x80\x00"
    assert numbered(Kind.PUBREL, 258) == b"\x62\x02\x01\x02"


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_any_bytes_are_read_or_refused(data):
    for reader in READERS:
        try:
            reader(data)
        except (FrameSyntaxError, RefusedError):
            continue

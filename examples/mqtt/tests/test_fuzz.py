"""Whatever a client sends, in whatever pieces: no plugin fails, and others are served on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import (
    DISCONNECT,
    Client,
    acknowledge,
    connect,
    connect_with_will,
    packet,
    publish,
    subscribe,
    unsubscribe,
)

from host.testing import Harness

NAMES = ("a", "a/b", "", "$SYS/x", "ü", "x" * 300)
FILTERS = ("a", "a/+", "#", "+/b", "a#", "", "$SYS/#")
numbers = st.integers(0, 5)
packets = st.one_of(
    st.builds(connect, st.sampled_from(["me", "you", ""]), clean=st.booleans()),
    st.builds(
        connect_with_will,
        st.sampled_from(["me", "you"]),
        st.sampled_from(["a", "b"]),
        st.just("bye"),
    ),
    st.builds(publish, st.sampled_from(NAMES), st.binary(max_size=5), st.integers(0, 3), numbers),
    st.builds(subscribe, st.sampled_from(FILTERS), st.integers(0, 3)),
    st.builds(unsubscribe, st.sampled_from(FILTERS)),
    st.builds(acknowledge, numbers),
    st.builds(
        lambda kind, number: packet(kind, bytes((0, number))),
        st.sampled_from([0x50, 0x62, 0x70]),
        numbers,
    ),
    st.sampled_from([DISCONNECT, b"\xc0\0", b"\xd0\0", b"\x20\x02\0\0", b"\0\0"]),
    st.binary(min_size=1, max_size=8),
)


@st.composite
def conversations(draw):
    """Return pieces of a conversation, most of which begin as they should; a byte may be wrong."""
    parts = draw(st.lists(packets, max_size=12))
    if draw(st.integers(0, 5)):
        parts.insert(0, connect("me", clean=draw(st.booleans())))
    data = bytearray(b"".join(parts))
    if data and draw(st.booleans()):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return [bytes(data[one:two]) for one, two in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.fixture(scope="module")
def harness():
    with Harness("mqtt", options={"mqtt": {"sys_seconds": 0}}, workers=2, raises=False) as made:
        made.run()
        yield made


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(conversations(), st.integers(0, 1), st.booleans()), min_size=1, max_size=3)
)
def test_any_conversation(harness, talks):
    witness = Client(harness, 1, "witness")
    witness.say(subscribe("witness", 1))
    witness.hear()
    open_ones = [(harness.connect(worker), pieces, resets) for pieces, worker, resets in talks]
    for connection, pieces, _ in open_ones:
        for piece in pieces:
            connection.feed(piece)
        harness.run()
    for connection, _, resets in open_ones:
        if resets:
            connection.reset()
        else:
            connection.feed_eof()
    harness.run()
    Client(harness, 0, "speaker").say(publish("witness", b"x", 1, 1) + DISCONNECT)
    assert witness.payloads() == [b"x"]
    witness.say(DISCONNECT)
    harness.advance(6)
    assert harness.failures == []
    for worker in (0, 1):  # nothing of them is left
        broker = harness.plugin("mqtt", worker)._broker
        assert broker.clients == {}
        assert not broker.topics.tree
        assert broker.topics._held == {}

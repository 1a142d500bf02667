"""The selector of asyncio over the host's loop: what selectors promise, and what is stale."""

import os
import selectors
import socket

import pytest

from host.runtime import loop as host_loop_events

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@pytest.fixture
def selector(loop):
    return loop._selector


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_registers_modifies_and_forgets(selector, pair):
    key = selector.register(pair[0], READ, "data")
    assert selector.get_key(pair[0]) == key
    assert selector.get_map()[pair[0].fileno()] == key
    with pytest.raises(KeyError):
        selector.register(pair[0], READ)
    assert selector.modify(pair[0], READ | WRITE, "more").data == "more"
    assert selector.unregister(pair[0]).events == READ | WRITE
    with pytest.raises(KeyError):
        selector.unregister(pair[0])


@pytest.mark.parametrize("events", [0, 4, READ | 8])
def test_refuses_what_is_no_event(selector, pair, events):
    with pytest.raises(ValueError, match="Invalid events"):
        selector.register(pair[0], events)


@pytest.mark.parametrize("file", [-1, object(), "3"])
def test_refuses_what_is_no_file(selector, file):
    with pytest.raises(ValueError, match="Invalid file"):
        selector.register(file, READ)


def test_refuses_a_regular_file_and_forgets_it(selector, tmp_path):
    with (tmp_path / "file").open("w") as file:
        with pytest.raises(PermissionError):
            selector.register(file, READ)
        assert file.fileno() not in selector.get_map()


def test_a_closed_file_can_be_forgotten(selector):
    ours, theirs = socket.socketpair()
    selector.register(ours, READ)
    ours.close()
    theirs.close()
    assert selector.unregister(ours).fileobj is ours


def test_selects_what_has_happened(loop, selector, pair):
    ours, theirs = pair
    key = selector.register(ours, READ | WRITE)
    assert selector.select() == [(key, WRITE)]
    theirs.send(b"x")
    assert selector.select() == [(key, READ | WRITE)]


def test_a_hang_up_is_all_that_is_watched(loop, selector):
    reader, writer = os.pipe()
    key = selector.register(reader, READ)
    os.close(writer)
    assert selector.select() == [(key, READ)]
    selector.unregister(reader)
    os.close(reader)


def test_what_was_forgotten_in_the_same_turn_is_not_told(loop, selector, pair):
    ours, theirs = pair
    selector.register(ours, READ)

    def forget(_mask):
        if ours.fileno() in selector.get_map():
            selector.unregister(ours)

    loop._host_loop.add(theirs.fileno(), host_loop_events.READ, forget)
    theirs.send(b"x")
    ours.send(b"x")
    loop.call_later(0, print)  # so that it returns
    assert selector.select() == []
    loop._host_loop.remove(theirs.fileno())

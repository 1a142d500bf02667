"""Events are handed on whole and in order, and who sends them never waits."""

import json
import socket

import pytest

from host.telemetry.emitter import Record
from host.telemetry.events import (
    CONNECTION_CLOSED,
    HOOK_FAILED,
    HOST_READY,
    WORKER_READY,
    Event,
    Level,
)
from host.telemetry.feed import MOST_BYTES, EventFeed

READY = Record(WORKER_READY, 5.5, {"slot": 1, "pid": 7, "seconds": 0.25})


@pytest.fixture
def ends():
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reader, writer:
        reader.setblocking(False)
        yield reader, writer


def test_an_event_is_what_the_log_says(ends):
    reader, writer = ends
    EventFeed(writer)(READY)
    assert json.loads(reader.recv(MOST_BYTES)) == {
        "time": 5.5,
        "level": "info",
        "event": "worker_ready",
        "message": "worker 1 (pid 7) ready after 0.250 s",
        "slot": 1,
        "dropped": 0,
    }


@pytest.mark.parametrize("event", [CONNECTION_CLOSED, Event("x", Level.DEBUG, "x")])
def test_what_is_of_no_interest_or_asked_for_by_a_setting_is_left_out(ends, event):
    reader, writer = ends
    EventFeed(writer)(Record(event, 0.0, dict.fromkeys(event.fields, 0)))
    with pytest.raises(BlockingIOError):
        reader.recv(MOST_BYTES)


def test_a_long_one_is_shortened_and_its_traceback_left_out(ends):
    reader, writer = ends
    fields = dict.fromkeys(HOOK_FAILED.fields) | {"traceback": "x" * 10**6, "error": "\0é" * 10**6}
    EventFeed(writer)(Record(HOOK_FAILED, 0.0, fields))
    event = json.loads(reader.recv(MOST_BYTES))
    assert event["event"] == "hook_failed"
    assert len(event["message"]) < 1100


def test_what_nobody_reads_is_dropped_and_counted(ends):
    reader, writer = ends
    feed = EventFeed(writer)
    for _ in range(10_000):
        feed(READY)
    got = 0
    while True:
        try:
            assert json.loads(reader.recv(MOST_BYTES))["dropped"] == 0
        except BlockingIOError:
            break
        got += 1
    assert 0 < got < 10_000
    feed(Record(HOST_READY, 0.0, {"workers": 2}))
    assert json.loads(reader.recv(MOST_BYTES))["dropped"] == 10_000 - got


def test_who_has_nobody_at_the_other_end_goes_on(ends):
    reader, writer = ends
    feed = EventFeed(writer)
    reader.close()
    for _ in range(3):
        feed(READY)

"""The supervisor's end hears what a worker says, also amid a report, and never waits to send."""

import socket
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from host.ipc.protocol import (
    OrderParser,
    Report,
    notification,
)
from host.ipc.supervisor_end import SupervisorChannel
from host.testing.machine import patience

ANSWERS = st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=3)
REPORTS = st.builds(Report, st.text(), st.text(), st.text(), ANSWERS)


@contextmanager
def channel(rest=b""):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield SupervisorChannel(ours, rest), theirs


def test_what_a_worker_says_is_heard_until_it_is_gone():
    with channel() as (ours, theirs):
        assert ours.receive() == []
        theirs.sendall(Report("ready").line() + Report("leaving").line()[:5])
        assert ours.receive() == [Report("ready")]
        theirs.sendall(Report("leaving").line()[5:])
        assert ours.receive() == [Report("leaving")]
        theirs.close()
        assert ours.receive() is None


def test_a_failure_is_kept():
    with channel() as (ours, theirs):
        assert ours.failure is None
        theirs.sendall(Report("failed", "why", "where").line() + Report("leaving").line())
        ours.receive()
        assert ours.failure == Report("failed", "why", "where")


@given(st.lists(REPORTS, min_size=1, max_size=4), st.integers(0, 10_000))
def test_a_channel_that_takes_over_goes_on_amid_a_report(reports, cut):
    data = b"".join(report.line() for report in reports)
    cut %= len(data)
    with channel() as (before, theirs):
        if cut:
            theirs.sendall(data[:cut])
        heard = before.receive()
        rest = before.rest
    assert rest == data[:cut].rpartition(b"\n")[2]
    with channel(rest) as (after, theirs):
        assert after.rest == rest
        theirs.sendall(data[cut:])
        assert heard + after.receive() == reports
        assert after.rest == b""


def test_sending_tells_what_was_taken_and_never_waits():
    with channel() as (ours, theirs):
        count = 0
        while ours.send(notification(1, 1)):
            count += 1
        theirs.settimeout(patience(5))
        assert OrderParser().feed(theirs.recv(8)) == [(1, 1)] * 2
        theirs.close()
        assert not ours.send(notification(1, 1))
        assert count > 10

"""The worker's end of the control channel hears orders in pieces, and never waits to report."""

import contextlib
import os
import socket
from contextlib import contextmanager

from host.ipc.protocol import Ask, Drain, Report, ReportParser, ask_order, drain_order, notification
from host.ipc.worker_end import _MAX_QUEUED_BYTES, WorkerChannel
from host.runtime.loop import READ, WRITE, Loop
from host.testing.machine import patience
from support.fakes import FakeLoop, FakeSocket

SMALL, BIG = Report("leaving"), Report("plugins", data={"plugins": ["x" * 60_000]})


class Scene:
    """A worker's loop and end, and the supervisor's end, which reads when it is told to."""

    def __init__(self):
        self.far, mine = socket.socketpair()
        self.far.settimeout(patience(5))
        self.loop, self.heard, self._reports = Loop(), [], ReportParser()
        self.channel = WorkerChannel(mine, self.loop)

    def attend(self):
        self.channel.watch(self.heard.append)
        return self

    def turn(self):
        self.loop.run_once(0)

    def order(self, data):
        self.far.sendall(data)
        self.turn()

    def reports(self, count):
        """Read until so many reports are here; the worker's loop turns meanwhile."""
        found = []
        self.far.setblocking(False)
        for _ in range(10_000):
            try:
                found += self._reports.feed(self.far.recv(1 << 16))
            except BlockingIOError:
                if len(found) >= count:
                    return found
            self.turn()
        raise AssertionError(f"{len(found)} reports of {count} have come")


@contextmanager
def scene():
    made = Scene()
    try:
        yield made
    finally:
        made.channel.close()
        made.far.close()
        made.loop.close()


def test_orders_are_heard_when_they_are_complete():
    with scene() as one:
        one.attend()
        ask = ask_order(Ask(1, "find", {"id": "7-1"}, 7.5))
        one.order(notification(1, 2)[:3])
        assert one.heard == []
        one.order(notification(1, 2)[3:] + drain_order(9.5) + ask[:10])
        assert one.heard == [[(1, 2), Drain(9.5)]]
        one.order(ask[10:])
        assert one.heard[1:] == [[Ask(1, "find", {"id": "7-1"}, 7.5)]]


def test_the_end_is_heard_once():
    with scene() as one:
        one.attend()
        one.far.close()
        one.turn()
        one.turn()
        assert one.heard == [None]


def test_a_supervisor_that_was_cut_off_is_the_end_too():
    loop, heard = FakeLoop(), []
    channel = WorkerChannel(Sock([ConnectionResetError()]), loop)
    channel.watch(heard.append)
    loop.handlers[7](READ)
    assert heard == [None]
    assert loop.watched == {}


def test_what_was_said_last_is_heard_before_the_end():
    with scene() as one:
        one.attend()
        one.far.sendall(notification(0, 1))
        one.far.close()
        one.turn()
        one.turn()
        assert one.heard == [[(0, 1)], None]


def test_reporting_to_nobody_does_no_harm():
    with scene() as one:
        one.attend()
        one.far.close()
        one.channel.report(SMALL)
        one.turn()
        one.channel.report(SMALL)
        assert one.heard == [None]


def test_a_report_can_be_made_before_anybody_listens_to_orders():
    with scene() as one:
        one.channel.report(SMALL)
        assert one.reports(1) == [SMALL]


def test_reports_wait_for_room_and_arrive_whole_and_in_order():
    with scene() as one:
        one.attend()
        made = [Report("answer", data={"n": n, "pad": "x" * 9_000}) for n in range(100)]
        for report in made:
            one.channel.report(report)
        assert one.reports(len(made)) == made
        one.channel.report(SMALL)
        assert one.reports(1) == [SMALL]


def test_orders_are_heard_while_reports_wait():
    with scene() as one:
        one.attend()
        for _ in range(20):
            one.channel.report(BIG)
        one.order(notification(0, 3))
        assert one.heard == [[(0, 3)]]
        assert one.reports(20) == [BIG] * 20


def test_what_waited_before_orders_were_listened_to_arrives_as_well():
    with scene() as one:
        for _ in range(20):
            one.channel.report(BIG)
        one.attend()
        assert one.reports(20) == [BIG] * 20


class Sock(FakeSocket):
    def setblocking(self, flag):
        self.blocks = flag


def test_the_socket_is_watched_for_room_only_while_something_waits():
    loop, line = FakeLoop(), SMALL.line()
    sock = Sock(takes=[BlockingIOError(), 5, BlockingIOError(), len(line) - 5])
    channel = WorkerChannel(sock, loop)
    assert sock.blocks is False
    channel.watch(print)
    assert loop.watched == {7: READ}
    channel.report(SMALL)
    for _ in range(3):
        assert loop.watched == {7: READ | WRITE}
        assert channel.waiting
        loop.handlers[7](WRITE)
    assert loop.watched == {7: READ}
    assert not channel.waiting
    assert sock.taken == line


def test_reports_beyond_what_may_wait_are_lost_whole():
    loop = FakeLoop()
    sock = Sock(takes=[BlockingIOError()])
    channel = WorkerChannel(sock, loop)
    channel.watch(print)
    fitting = _MAX_QUEUED_BYTES // len(BIG.line())
    for _ in range(fitting + 3):
        channel.report(BIG)
    channel.report(SMALL)  # there is room for a short one still
    while loop.watched[7] & WRITE:
        loop.handlers[7](WRITE)
    assert sock.taken == BIG.line() * fitting + SMALL.line()
    channel.report(BIG)
    assert sock.taken.endswith(BIG.line())


def test_descriptors_come_with_their_orders():
    far, mine = socket.socketpair()
    loop, heard, ask = Loop(), [], ask_order(Ask(1, "take_certificates", {"name": "a"}, 5.0))
    channel = WorkerChannel(mine, loop, descriptors=True)
    channel.watch(heard.append)
    given = os.memfd_create("given")
    try:
        far.sendall(notification(0, 1))
        socket.send_fds(far, [ask[:3]], [given])
        far.sendall(ask[3:] + notification(0, 2))
        for _ in range(5):
            loop.run_once(0)
        assert [type(each).__name__ for turn in heard for each in turn] == ["tuple", "Ask", "tuple"]
        taken = channel.descriptors.popleft()
        assert os.path.sameopenfile(given, taken)
        assert not os.get_inheritable(taken)
        os.close(taken)
        socket.send_fds(far, [ask], [given])
        loop.run_once(0)
        (left,) = channel.descriptors
    finally:
        channel.close()
        far.close()
        loop.close()
        os.close(given)
    with contextlib.suppress(OSError):
        os.fstat(left)
        raise AssertionError("a descriptor that nobody has taken is open")

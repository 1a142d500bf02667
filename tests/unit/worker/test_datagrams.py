"""Datagrams: what is read in a turn, what answers it, and what is counted."""

import errno
import functools
import math

import pytest

from host import Listener
from host.ipc.current_call import unpack_call
from host.ipc.current_peer import peer_of, place_of
from host.ipc.scoreboard import CURRENT_CALL, DENIED
from host.plugins.echo import Echo
from host.settings import Listen
from host.worker.access import AccessRules
from host.worker.datagram_admission import DatagramAdmission
from host.worker.datagram_counting import DatagramCounts
from host.worker.datagrams import BATCH, MAX_TRUSTED, DatagramCells, DatagramContext, ShardReader
from support.bytecodes import counted_bytecodes
from support.fakes import blank_cells, rows_of

CLIENT = ("192.0.2.7", 5000)
COUNTED = ("received", "bytes_in", "replies", "bytes_out", "dropped", "refused")


class Shard:
    """A shard whose queue and whose sent datagrams are lists; `error` is raised by sending."""

    def __init__(self, on_datagram, *, factor=3.0):
        self.queue, self.sent, self.failures, self.told, self.due = [], [], [], [], []
        self.error = None
        self.cells = blank_cells(1, 1)
        (self.row,) = rows_of(self.cells, 1, 1)
        self.context = DatagramContext(
            Listener(0, "udp://192.0.2.1:53", "test"),
            worker=None,
            on_datagram=on_datagram,
            blame=lambda _: "test",
            report=lambda *failure: self.failures.append(failure),
            factor=factor,
            admits=None,
            on_refused=lambda datagram, size: self.told.append((datagram.peer, size)),
            call_soon=self.due.append,
            cells=self.cells,
            call_cell=self.row.index(CURRENT_CALL),
            peer_place=place_of(self.row),
            counters=DatagramCells(*(self.row.cell(0, word) for word in range(6))),
        )
        self.reader = ShardReader(self._receive, self._send, self.context)

    def counts(self):
        assert len(self.due) <= 1
        while self.due:
            self.due.pop()()
        found = {name: self.row.count(0, word) for word, name in enumerate(COUNTED)}
        return {name: count for name, count in found.items() if count}

    def _receive(self, _size):
        if not self.queue:
            raise BlockingIOError
        return self.queue.pop(0)

    def _send(self, data, address):
        if self.error:
            raise OSError(self.error, "")
        self.sent.append((bytes(data), address))
        return len(data)


def echo(datagram):
    datagram.reply(datagram.data)


def test_what_waits_is_answered_in_order_and_counted():
    shard = Shard(echo)
    shard.queue += [(b"%d" % number, CLIENT) for number in range(9)]
    while shard.reader.on_event(1):
        pass
    assert shard.sent == [(b"%d" % number, CLIENT) for number in range(9)]
    assert shard.counts() == {"received": 9, "bytes_in": 9, "replies": 9, "bytes_out": 9}


def test_no_more_than_a_batch_is_read_in_a_turn():
    shard = Shard(echo)
    shard.queue += [(b"x", CLIENT)] * 1000
    turns = []
    while shard.queue:
        before = len(shard.queue)
        shard.reader.on_event(1)
        turns.append(before - len(shard.queue))
    assert set(turns[:-1]) == {BATCH}


def test_a_shard_whose_datagrams_come_one_by_one_is_seldom_asked_in_vain():
    shard, asked = Shard(echo), []
    receive = shard.reader._receive
    shard.reader._receive = lambda size: asked.append(size) or receive(size)
    for _ in range(100):
        shard.queue.append((b"x", CLIENT))
        shard.reader.on_event(1)
    assert len(asked) <= 120
    shard.queue += [(b"x", CLIENT)] * 20
    for _ in range(10):
        shard.reader.on_event(1)
    assert not shard.queue


def test_what_comes_in_batches_is_read_in_batches_and_seldom_asked_in_vain():
    shard, asked = Shard(echo), []
    receive = shard.reader._receive
    shard.reader._receive = lambda size: asked.append(size) or receive(size)
    for _ in range(100):
        shard.queue += [(b"x", CLIENT)] * 4
        shard.reader.on_event(1)
    assert not shard.queue
    assert len(asked) <= 420


def test_a_shard_that_has_more_than_usual_is_read_in_whole_batches_soon():
    shard = Shard(echo)
    for _ in range(20):
        shard.queue += [(b"x", CLIENT)] * 2
        shard.reader.on_event(1)
    shard.queue += [(b"x", CLIENT)] * 100
    turns = []
    while shard.queue:
        before = len(shard.queue)
        shard.reader.on_event(1)
        turns.append(before - len(shard.queue))
    first = turns.index(BATCH)
    assert set(turns[:first]) <= {2}
    assert first <= 8
    assert set(turns[first:-1]) == {BATCH}


def test_an_event_that_finds_nothing_does_not_keep_a_shard_from_being_read():
    shard = Shard(echo)
    for _ in range(20):
        shard.reader.on_event(1)
    shard.queue.append((b"x", CLIENT))
    shard.reader.on_event(1)
    assert shard.sent == [(b"x", CLIENT)]


def test_who_is_called_and_for_whom_is_told_before_the_call():
    seen = []

    def look(datagram):
        call = unpack_call(shard.row.get(CURRENT_CALL))
        seen.append((call.hook, call.serial, call.listener, peer_of(shard.row)))

    shard = Shard(look)
    shard.queue += [(b"", CLIENT), (b"", ("fe80::1%eth0", 7, 0, 2))]
    shard.reader.on_event(1)
    shard.reader.on_event(1)
    first, second = seen
    assert first[0] == second[0] == "on_datagram"
    assert first[1] != second[1]
    assert (first[2:], second[3]) == ((0, CLIENT), ("fe80::1%eth0", 7))


def test_a_failure_keeps_nobody_else_from_an_answer():
    def fail(datagram):
        if datagram.data == b"bad":
            raise SystemExit
        datagram.reply(b"ok!")

    shard = Shard(fail)
    shard.queue += [(b"bad", CLIENT), (b"good", CLIENT), (b"bad", CLIENT), (b"good", CLIENT)]
    while shard.reader.on_event(1):
        pass
    assert [data for data, _ in shard.sent] == [b"ok!", b"ok!"]
    assert [(plugin, hook, type(error)) for plugin, hook, error, _ in shard.failures] == [
        ("test", "on_datagram", SystemExit)
    ] * 2
    assert shard.failures[0][3][0].peer == "192.0.2.7:5000"


@pytest.mark.parametrize(
    ("factor", "sizes", "sent"),
    [
        (3.0, [30], 1),
        (3.0, [31], 0),
        (3.0, [20, 10], 2),
        (3.0, [20, 11, 10], 2),
        (0.5, [5], 1),
        (0.5, [6], 0),
        (math.inf, [65_507], 1),
    ],
)
def test_no_more_answers_a_stranger_than_the_factor_allows(factor, sizes, sent):
    shard = Shard(lambda datagram: [datagram.reply(bytes(size)) for size in sizes], factor=factor)
    shard.queue.append((b"x" * 10, CLIENT))
    shard.reader.on_event(1)
    refused = len(sizes) - sent
    assert len(shard.sent) == sent
    assert shard.counts().get("refused", 0) == refused == len(shard.told)
    assert all(peer == "192.0.2.7:5000" for peer, _ in shard.told)


def test_who_is_trusted_is_answered_with_any_number_of_bytes_from_then_on():
    def answer(datagram):
        if datagram.data == b"cookie":
            datagram.trust()
        datagram.reply(bytes(1000))

    shard = Shard(answer)
    for data, address in [
        (b"hello", CLIENT),
        (b"cookie", CLIENT),
        (b"hello", CLIENT),
        (b"hello", (CLIENT[0], 5001)),
    ]:
        shard.queue.append((data, address))
        shard.reader.on_event(1)
        shard.reader.on_event(1)
    assert [address for _, address in shard.sent] == [CLIENT, CLIENT]
    assert shard.counts()["refused"] == 2


def test_of_those_who_are_trusted_the_first_one_is_forgotten_when_there_are_too_many():
    shard = Shard(echo)
    for port in range(MAX_TRUSTED + 1):
        shard.context.trust(("192.0.2.7", port))
    shard.context.trust(("192.0.2.7", 1))  # it is the last one now
    shard.context.trust(("192.0.2.8", 0))
    ports = [port for _, port in shard.context.trusted]
    assert len(ports) == MAX_TRUSTED
    assert (ports[0], ports[-2:]) == (3, [1, 0])


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED, errno.EINVAL])
def test_a_reply_that_the_kernel_does_not_take_is_dropped_and_counted(error):
    taken = []
    shard = Shard(lambda datagram: taken.append(datagram.reply(b"x")))
    shard.queue.append((b"x", CLIENT))
    shard.error = error
    shard.reader.on_event(1)
    assert taken == [False]
    assert shard.counts() == {"received": 1, "bytes_in": 1, "dropped": 1}
    assert shard.failures == []


def test_a_reply_that_no_datagram_can_be_is_the_mistake_of_the_plugin():
    shard = Shard(lambda datagram: datagram.reply(bytes(70_000)), factor=math.inf)
    shard.queue.append((b"x", CLIENT))
    shard.error = errno.EMSGSIZE
    shard.reader.on_event(1)
    assert "70000 bytes is too long" in str(shard.failures[0][2])


def test_a_later_reply_is_counted_at_once():
    kept = []
    shard = Shard(kept.append)
    shard.queue.append((b"x", CLIENT))
    shard.reader.on_event(1)
    assert kept[0].reply(b"yes") is True
    assert kept[0].reply(b"more") is False
    counts = shard.counts()
    assert (counts["replies"], counts["bytes_out"], counts["refused"]) == (1, 3, 1)


def test_who_is_not_admitted_is_counted_and_no_plugin_hears_of_it():
    listen = Listen(address="udp://192.0.2.1:53", allow=("192.0.2.7",))
    shard = Shard(echo)
    add = functools.partial(shard.row.add, 0)
    shard.context.admits = DatagramAdmission(AccessRules(listen), None, None, add).admits
    shard.queue += [(b"x", ("192.0.2.8", 1)), (b"y", CLIENT)]
    while shard.reader.on_event(1):
        pass
    assert shard.sent == [(b"y", CLIENT)]
    assert shard.row.count(0, DENIED) == 1
    assert shard.counts()["received"] == 2


def test_an_error_that_waits_on_the_socket_ends_the_batch_and_no_more():
    shard = Shard(echo)
    receive = shard.reader._receive
    errors = [OSError(errno.ECONNREFUSED, "")]

    def fails_once(size):
        if errors:
            raise errors.pop()
        return receive(size)

    shard.reader._receive = fails_once
    shard.queue.append((b"x", CLIENT))
    shard.reader.on_event(1)
    shard.reader.on_event(1)
    assert shard.sent == [(b"x", CLIENT)]


def bytecodes(count, *, skipped=0, at_once=False):
    """Return how many bytecodes an event takes that finds so many datagrams, which are echoed.

    Each is counted at once, or all of them later.
    """
    shard = Shard(Echo().on_datagram)
    waiting = iter([(b"x" * 64, ("192.0.2.7", port)) for port in range(count)])
    shard.reader._receive = functools.partial(_next_or_nothing, waiting)
    shard.reader._send = lambda *_: 64
    if at_once:
        counts = DatagramCounts(shard.row, 0)
        shard.reader._receive = counts.receiving(shard.reader._receive)
        shard.reader._send = counts.sending(shard.reader._send)
    shard.reader._skipped = skipped
    shard.context.is_counting = True
    with counted_bytecodes() as counts:
        shard.reader.on_event(1)
    return counts.total


def _next_or_nothing(waiting, _size):
    for each in waiting:
        return each
    raise BlockingIOError


def test_a_datagram_costs_few_bytecodes():
    """The limits are a tenth above what Python 3.11 counts; later versions have fewer."""
    assert bytecodes(9) - bytecodes(8) <= 182
    assert bytecodes(1, skipped=1) <= 300
    assert bytecodes(9, at_once=True) - bytecodes(8, at_once=True) <= 257

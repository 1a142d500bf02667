"""Each datagram is counted before it can be seen that it came, or that it was answered."""

import errno

import pytest

from host.ipc.scoreboard import (
    BYTES_IN,
    BYTES_OUT,
    COUNTED_ELSEWHERE,
    DATAGRAMS,
    DROPPED_REPLIES,
    REFUSED_REPLIES,
    REPLIES,
    SENDING,
)
from host.worker.datagram_counting import DatagramCounts
from support.fakes import blank_cells, rows_of

CLIENT = ("192.0.2.7", 5000)


@pytest.fixture
def row():
    [row] = rows_of(blank_cells(1, 2), 1, 2)
    return row


@pytest.fixture
def counts(row):
    return DatagramCounts(row, 1)


def failing(error):
    def send(_data, _address):
        raise error

    return send


def test_what_is_received_is_counted_before_anybody_sees_it(row, counts):
    receive = counts.receiving(lambda size: (b"x" * size, CLIENT))
    assert receive(7) == (b"xxxxxxx", CLIENT)
    assert receive(2) == (b"xx", CLIENT)
    assert (row.count(1, DATAGRAMS), row.count(1, BYTES_IN)) == (2, 9)
    assert not any(row.listener_words(0))


def test_a_read_that_finds_nothing_is_none(row, counts):
    def receive(_size):
        raise BlockingIOError

    with pytest.raises(BlockingIOError):
        counts.receiving(receive)(7)
    assert not any(row.listener_words(1))


def test_what_is_sent_is_counted(row, counts):
    sent = []
    send = counts.sending(lambda *what: sent.append(what) or len(what[0]))
    assert send(b"abc", CLIENT) == 3
    assert send(memoryview(b"de"), CLIENT) == 2
    assert sent == [(b"abc", CLIENT), (b"de", CLIENT)]
    assert (row.count(1, REPLIES), row.count(1, BYTES_OUT)) == (2, 5)


def test_a_worker_that_is_killed_as_its_client_has_the_reply_has_counted_it(row, counts):
    send = counts.sending(lambda data, _: len(data))
    send(b"abc", CLIENT)
    seen = []

    def deliver(_data, _address):
        seen.append(row.count(1, SENDING))
        row.write_off()  # as if the worker had got no further
        seen.append(row.count(1, REPLIES))
        return 3

    counts.sending(deliver)(b"abc", CLIENT)
    assert seen == [2, 2]
    row.write_off()
    assert row.count(1, REPLIES) == 2


@pytest.mark.parametrize(
    ("error", "dropped"),
    [
        (OSError(errno.ECONNREFUSED, ""), 1),
        (BlockingIOError(errno.EAGAIN, ""), 1),
        (OSError(errno.EMSGSIZE, ""), 0),
        (TypeError("no bytes"), 0),
    ],
)
def test_what_is_not_sent_is_no_reply_also_of_a_worker_that_dies_then(row, counts, error, dropped):
    send = counts.sending(lambda data, _: len(data))
    send(b"abc", CLIENT)
    with pytest.raises(type(error)):
        counts.sending(failing(error))(b"abc", CLIENT)
    row.write_off()
    assert (row.count(1, REPLIES), row.count(1, BYTES_OUT)) == (1, 3)
    assert row.count(1, DROPPED_REPLIES) == dropped


def test_what_may_not_be_sent_is_counted_and_told(row, counts):
    told = []
    counts.refusing(lambda *what: told.append(what))("a datagram", 9000)
    assert (row.count(1, REFUSED_REPLIES), told) == (1, [("a datagram", 9000)])


def test_the_sums_that_datagrams_keep_go_where_nobody_reads(counts):
    cells = counts.cells
    assert {getattr(cells, name) for name in type(cells).__slots__} == {COUNTED_ELSEWHERE}

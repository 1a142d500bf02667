"""Parts of files are sent in their place among what is written, and held back like it."""

import errno
import os

import pytest

from host.interfaces import CloseReason
from host.runtime.loop import WRITE
from host.worker.backlog import BytesBacklog, FilesBacklog, Mark
from support.connections import RESET, Worker

TEXT = b"0123456789"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    with path.open("rb") as opened:
        yield opened


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_a_file_is_sent_between_what_is_written_before_and_after(file):
    worker = Worker()
    connection, sock = worker.connect(b"x", takes=[3, 2, 1, 2])

    def handler(each):
        each.read()
        each.write(b"head ")
        each.send_file(file, 2, 5)
        each.write(b" mid ")
        each.send_file(file.fileno())
        each.write(b" tail")
        file.close()

    worker.handler = handler
    before = descriptors()
    worker.turn(connection)
    while connection.unsent:
        worker.turn(connection, WRITE)
    assert sock.taken == b"head 23456 mid 0123456789 tail"
    assert descriptors() == before - 1  # the caller's


def test_a_file_that_is_sent_at_once_leaves_nothing_to_be_done(file):
    worker = Worker()
    connection, sock = worker.connect(b"x", b"y")

    def handler(each):
        each.read()
        each.send_file(file, count=0)
        each.send_file(file)

    worker.handler = handler
    before = descriptors()
    worker.turn(connection)
    assert (sock.taken, connection.unsent, worker.stalled) == (TEXT, 0, {})
    worker.turn(connection)
    assert sock.taken == 2 * TEXT
    assert descriptors() == before


def test_a_file_counts_for_holding_back_and_not_for_memory(file):
    worker = Worker(high_water=5, low_water=2, max_unsent=8)
    connection, sock = worker.connect(takes=[BlockingIOError()])
    connection.send_file(file)
    assert (connection.unsent, connection.congested, worker.reasons) == (10, True, [])
    assert worker.context.connections.unsent.total == 0
    connection.write(b"12345678")
    assert (connection.unsent, worker.reasons) == (18, [])
    assert worker.context.connections.unsent.total == 8
    worker.turn(connection, WRITE)
    worker.turn(connection, WRITE)
    assert (sock.taken, connection.congested) == (TEXT + b"12345678", False)
    assert worker.context.connections.unsent.total == 0


def test_a_connection_closes_when_the_file_is_sent(file):
    worker = Worker()
    connection, sock = worker.connect(takes=[4])
    connection.send_file(file)
    connection.close()
    worker.end_turn()
    assert worker.reasons == []
    worker.turn(connection, WRITE)
    assert (worker.reasons, sock.taken, sock.was_reset) == ([CloseReason.PLUGIN], TEXT, False)


def test_a_file_that_became_shorter_fails_the_plugin_and_resets_the_peer(file):
    worker = Worker()
    connection, sock = worker.connect(takes=[4])
    before = descriptors()
    connection.send_file(file)
    os.truncate(file.name, 6)
    worker.turn(connection, WRITE)
    worker.turn(connection, WRITE)
    assert worker.reasons == [CloseReason.PLUGIN_FAILED]
    assert sock.was_reset
    [(_, _, error, _)] = worker.reports
    assert str(error) == "the file to be sent has ended 4 bytes too early"
    assert descriptors() == before


def test_a_peer_that_is_gone_closes_the_file(file):
    worker = Worker()
    connection, _ = worker.connect(takes=[4, RESET])
    before = descriptors()
    connection.send_file(file)
    worker.turn(connection, WRITE)
    assert worker.reasons == [CloseReason.RESET]
    assert descriptors() == before


@pytest.mark.parametrize(
    ("offset", "count"), [(11, None), (-1, None), (0, 11), (5, 6), (0, -1), (10, 1)]
)
def test_only_what_the_file_has_can_be_sent(file, offset, count):
    worker = Worker()
    connection, _ = worker.connect()
    before = descriptors()
    with pytest.raises(ValueError, match="the file has 10 bytes"):
        connection.send_file(file, offset, count)
    assert (connection.unsent, descriptors()) == (0, before)


def test_only_a_regular_file_can_be_sent(file):
    worker = Worker()
    connection, _ = worker.connect()
    read, write = os.pipe()
    try:
        with pytest.raises(ValueError, match="takes a regular file"):
            connection.send_file(read)
    finally:
        os.close(read)
        os.close(write)
    with pytest.raises(OSError, match="Bad file descriptor"):
        connection.send_file(read)


def test_on_a_connection_that_has_ended_nothing_is_kept_open(file):
    worker = Worker()
    connection, _ = worker.connect()
    connection.close()
    worker.end_turn()
    before = descriptors()
    connection.send_file(file)
    assert (connection.unsent, descriptors()) == (0, before)


def test_a_file_that_is_not_open_for_reading_is_refused(tmp_path):
    worker = Worker()
    connection, _ = worker.connect()
    (tmp_path / "file").write_bytes(TEXT)
    for flags in (os.O_WRONLY, os.O_PATH):
        fd = os.open(tmp_path / "file", flags)
        with pytest.raises(ValueError, match="open for reading"):
            connection.send_file(fd)
        os.close(fd)


def test_a_file_that_cannot_be_read_fails_the_plugin_and_resets_the_peer(file):
    worker = Worker()
    connection, sock = worker.connect(b"x", takes=[OSError(errno.EIO, "Input/output error")])

    def handler(each):
        each.read()
        each.send_file(file)

    worker.handler = handler
    worker.turn(connection)
    assert worker.reasons == [CloseReason.PLUGIN_FAILED]
    assert sock.was_reset


@pytest.mark.parametrize("after", [b"", b"after"])
def test_a_mark_is_reached_once_all_that_was_before_it_is_sent(after):
    backlog, reached = FilesBacklog(BytesBacklog(b"before")), []
    backlog.append_mark(Mark(lambda: reached.append(len(backlog))))
    if after:
        backlog.append(after)
    assert backlog.send(1, lambda _fd, pieces: 4, os.sendfile) == 4
    assert reached == []
    assert backlog.send(1, lambda _fd, pieces: 2, os.sendfile) == 2
    assert reached == [len(after)]
    assert len(backlog) == backlog.in_memory == len(after)
    backlog.close()
    assert len(reached) == 1


def test_a_mark_that_is_given_up_is_never_reached():
    backlog = FilesBacklog(BytesBacklog(b"before"))
    backlog.append_mark(Mark(lambda: pytest.fail("nothing was sent")))
    backlog.close()
    assert len(backlog) == 0

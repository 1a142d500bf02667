"""A log that takes over writes first what the one before had still to write."""

import fcntl
import os
import select
from contextlib import contextmanager

from host.telemetry.emitter import Record
from host.telemetry.events import Event, Level
from host.telemetry.logs import LogWriter

SAYS = Event("says", Level.INFO, "{what}")


@contextmanager
def full_pipe():
    """A pipe with room for nothing; yield its ends and how to read all that is in it."""
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    os.set_blocking(reader, False)
    os.write(writer, b"#" * size)

    def read():
        return os.read(reader, 1 << 20).lstrip(b"#")

    try:
        yield writer, read
    finally:
        os.close(reader)
        os.close(writer)


def writer_to(descriptor, max_waiting=3):
    return LogWriter(descriptor, lambda record: f"{record.fields}\n", Level.DEBUG, max_waiting)


def say(log, *whats):
    for what in whats:
        log(Record(SAYS, 0.0, {"what": what}))


def test_lines_that_waited_are_written_first_and_dropped_ones_are_counted_on():
    with full_pipe() as (descriptor, read):
        one, other = writer_to(descriptor), writer_to(descriptor, max_waiting=4)
        say(one, *range(5))
        say(other, "mine")
        other.restore(*one.state())
        say(other, "one too many")
        assert one.state() == ([b"{'what': 0}\n", b"{'what': 1}\n", b"{'what': 2}\n"], 2)
        read()
        other.flush()
        expected = [{"what": what} for what in (0, 1, 2, "mine")] + [{"count": 3}]
        assert read().decode().splitlines() == list(map(str, expected))
        assert other.state() == ([], 0)
        one.forget()
        for each in (one, other):
            each.close()


def test_dropped_lines_are_counted_once_by_those_that_take_over():
    counts = []
    with full_pipe() as (descriptor, _):
        before, one, other = (writer_to(descriptor) for _ in range(3))
        before.count_dropped(counts.append)
        say(before, *range(5))
        one.restore(*before.state())  # after an exec: what `before` has counted is handed over
        say(one, 5)
        other.restore(*one.state(), one.uncounted)
        other.count_dropped(counts.append)
        say(other, 6)
        assert counts == [1, 1, 1, 1]
        for each in (before, one, other):
            each.forget()
            each.close()


def test_a_line_that_was_written_in_part_is_completed():
    with full_pipe() as (descriptor, read):
        one, other = writer_to(descriptor), writer_to(descriptor)
        read()
        say(one, "x" * 3 * select.PIPE_BUF)
        other.restore(*one.state())
        got = b""
        while other.state()[0]:
            got += read()
            other.flush()
        assert got + read() == f"{ {'what': 'x' * 3 * select.PIPE_BUF} }\n".encode()
        one.forget()
        for each in (one, other):
            each.close()

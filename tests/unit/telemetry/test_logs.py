"""Log lines cannot be forged, and writing them never waits."""

import fcntl
import json
import os
import resource
import select
import socket
import threading
import unicodedata
from contextlib import contextmanager
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.telemetry.emitter import Record
from host.telemetry.events import (
    CONNECTION_CLOSED,
    HOOK_FAILED,
    HOST_STARTING,
    LINES_DROPPED,
    WORKER_READY,
    Event,
    Level,
)
from host.telemetry.logs import LogWriter, json_line, text_line
from host.text import printable

STAMP = "2026-01-02T03:04:05.678Z"
SECONDS = 1767323045.6789
SAYS = Event("says", Level.INFO, "it says {what}")


CLOSED = Record(
    CONNECTION_CLOSED,
    SECONDS,
    {
        "connection": "4711-1",
        "peer": "127.0.0.1:1",
        "listener": "tcp://127.0.0.1:7000",
        "slot": 3,
        "seconds": 1.2346,
        "bytes_in": 64,
        "bytes_out": 1000,
        "reason": "idle",
    },
)


def says(what):
    return Record(SAYS, SECONDS, {"what": what})


def failed(**fields):
    given = {
        "hook": "on_readable",
        "plugin": "chat",
        "error": "ValueError: bad",
        "consequence": "the connection is closed",
        "connection": "4711-1",
        "peer": "127.0.0.1:50211",
        "traceback": "Traceback:\n  here\nValueError: bad\n",
    }
    return Record(HOOK_FAILED, SECONDS, given | fields)


def test_a_text_line_has_time_level_and_a_sentence():
    record = Record(WORKER_READY, SECONDS, {"slot": 1, "pid": 4711, "seconds": 0.12345})
    assert text_line(record) == f"{STAMP} info    worker 1 (pid 4711) ready after 0.123 s\n"


def test_what_does_not_fit_the_sentence_is_indented_below():
    assert text_line(failed()).splitlines() == [
        f"{STAMP} error   hook on_readable of plugin chat raised ValueError: bad; "
        "the connection is closed",
        "    connection 4711-1 from 127.0.0.1:50211",
        "    Traceback:",
        "      here",
        "    ValueError: bad",
    ]


def test_a_datagram_has_a_sender_and_no_number():
    lines = text_line(failed(hook="on_datagram", connection=None, traceback=None)).splitlines()
    assert lines[1:] == ["    datagram from 127.0.0.1:50211"]


def test_what_is_not_known_is_left_out():
    lines = text_line(failed(connection=None, peer=None, traceback=None)).splitlines()
    assert len(lines) == 1


def test_a_peer_that_the_sentence_tells_is_not_told_twice():
    assert len(text_line(CLOSED).splitlines()) == 1


def test_a_line_for_a_connection_tells_whose_it_was_where_how_long_how_much_and_why():
    assert text_line(CLOSED) == (
        f"{STAMP} info    connection 4711-1 from 127.0.0.1:1 to tcp://127.0.0.1:7000 ended in "
        "worker 3 after 1.235 s, 64 bytes in, 1000 bytes out: idle\n"
    )


def test_lines_that_a_setting_asks_for_are_written_whatever_the_level_is():
    with pipe() as (reader, writer), writing(writer, Level.ERROR) as log:
        log(CLOSED)
        assert drain(reader) == f"{CLOSED.fields}\n".encode()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain: ä€😀", "plain: ä€😀"),
        ("two\nlines", r"two\x0alines"),
        ("\r\x1b[2Jgone", r"\x0d\x1b[2Jgone"),
        ("\x00\x7f\x85\x9b", r"\x00\x7f\x85\x9b"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("abc\u202edcba\u202c", r"abc\u202edcba\u202c"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("lone \udc80", r"lone \udc80"),
    ],
)
def test_control_characters_are_spelled_out(given, shown):
    assert printable(given) == shown
    assert text_line(says(given)) == f"{STAMP} info    it says {shown}\n"


NASTY = st.text(st.characters() | st.sampled_from("\n\r\x1b\x85\u2028\u202e"))


@given(NASTY, NASTY, NASTY)
def test_nobody_forges_a_line(error, peer, traceback):
    text = text_line(failed(error=error, peer=peer, traceback=traceback))
    assert text.encode().endswith(b"\n")
    first, *rest = text.splitlines()
    assert first.startswith(f"{STAMP} error ")
    assert all(line.startswith("    ") for line in rest)
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for character in text.replace("\n", ""):
        assert unicodedata.category(character) not in ("Cc", "Zl", "Zp", "Cs")
        assert unicodedata.bidirectional(character) not in bidirectional


@given(NASTY, st.none() | st.integers())
def test_a_json_line_is_one_line_of_ascii_with_all_fields(error, connection):
    line = json_line(failed(error=error, connection=connection), "shop")
    assert line.isascii()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    found = json.loads(line)
    assert found["event"] == "hook_failed"
    assert (found["time"], found["level"]) == (STAMP, "error")
    pairs = error.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    assert found["error"] == pairs.encode("utf-8", "backslashreplace").decode()
    assert found["host"] == "shop"
    assert found["message"] == (
        f"hook on_readable of plugin chat raised {printable(error)}; the connection is closed"
    )
    assert ("connection" in found) is (connection is not None)


def test_a_json_line_tells_which_process_wrote_it():
    assert json.loads(json_line(says("x"), "shop"))["pid"] == os.getpid()


def test_what_json_does_not_know_is_written_in_words():
    assert json.loads(json_line(says(Level), "shop"))["what"] == str(Level)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"\xffx".decode("utf-8", "surrogateescape"), "\\udcffx"),
        ("\ud83d", "\\ud83d"),
        ("\ud83dx\ude00", "\\ud83dx\\ude00"),
        ("\U0001f600\udc80", "\U0001f600\\udc80"),
        (r"\ud800 \\ud800", r"\ud800 \\ud800"),
        ("\\\ud800", r"\\ud800"),
    ],
)
def test_half_of_a_pair_of_surrogates_is_spelled_out_in_json(text, read):
    found = json.loads(json_line(says(text), "shop"))["what"]
    assert found == read
    assert found.encode()


@contextmanager
def pipe():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    os.set_blocking(reader, False)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def words(record):
    """The form of most tests here: what is said, and nothing else."""
    return f"{record.fields.get('what', record.fields)}\n"


@contextmanager
def writing(descriptor, level=Level.DEBUG, **options):
    log = LogWriter(descriptor, words, level, **options)
    try:
        yield log
    finally:
        log.close(0.0)


def drain(reader):
    """Read all that is there."""
    got = b""
    try:
        while data := os.read(reader, 1 << 20):
            got += data
    except BlockingIOError:
        pass
    return got


def stuff(descriptor):
    """Fill an empty pipe to the last byte."""
    count = 0
    own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            count += os.write(own, b"#" * select.PIPE_BUF)
    except BlockingIOError:
        return count
    finally:
        os.close(own)


def test_a_line_is_written_at_once():
    with pipe() as (reader, writer), writing(writer) as log:
        log(says("hello"))
        assert drain(reader) == b"hello\n"


def test_what_is_below_the_level_is_not_written():
    with pipe() as (reader, writer), writing(writer, Level.WARNING) as log:
        log(says("hello"))
        assert drain(reader) == b""


def test_the_descriptor_itself_stays_as_it_was():
    with pipe() as (_, writer), writing(writer) as log:
        log(says("hello"))
        assert os.get_blocking(writer)
        log.close()
        os.fstat(writer)


def test_lines_wait_for_a_full_pipe_and_keep_their_order():
    with pipe() as (reader, writer), writing(writer) as log:
        filling = stuff(writer)
        for number in range(10):
            log(says(number))
        assert drain(reader) == b"#" * filling
        log.flush()
        assert drain(reader) == b"".join(b"%d\n" % number for number in range(10))


def test_no_more_lines_wait_than_allowed_and_the_rest_is_counted():
    with pipe() as (reader, writer), writing(writer, max_waiting=5) as log:
        filling = stuff(writer)
        for number in range(12):
            log(says(number))
        assert drain(reader) == b"#" * filling
        log.flush()
        assert drain(reader) == b"0\n1\n2\n3\n4\n{'count': 7}\n"
        log(says("on"))
        assert drain(reader) == b"on\n"


def test_each_line_that_is_dropped_is_counted_as_it_is_dropped():
    with pipe() as (reader, writer), writing(writer, max_waiting=5) as log:
        filling = stuff(writer)
        counts = []
        for number in range(7):
            log(says(number))
        assert log.uncounted == 2
        log.count_dropped(counts.append)
        assert (log.uncounted, counts) == (0, [2])
        log(says(7))
        assert counts == [2, 1]
        assert drain(reader) == b"#" * filling
        log.flush()
        assert drain(reader).endswith(b"{'count': 3}\n")
        stuff(writer)
        log(says("last"))
        log.close(patience_seconds=0.0)
        assert counts == [2, 1, 1]


def test_lines_that_nobody_will_read_are_counted():
    reader, writer = os.pipe()
    with writing(writer) as log:
        os.close(reader)
        counts = []
        log.count_dropped(counts.append)
        log(says("lost"))
        log(says("lost"))
        assert counts == [1, 1]
        log.forget()  # as a child does
        log(says("lost"))
        assert (counts, log.uncounted) == ([1, 1], 1)
    os.close(writer)


def test_dropped_lines_are_told_in_the_form_of_the_others():
    with pipe() as (reader, writer):
        log = LogWriter(writer, partial(json_line, host="shop"), Level.INFO, max_waiting=0)
        log(says("dropped"))
        log._max_waiting = 10
        log(says("written"))
        log.close()
        told = [json.loads(line)["event"] for line in drain(reader).splitlines()]
        assert told == ["says", LINES_DROPPED.name]


def test_a_long_line_is_continued_where_it_was_cut():
    line = "x" * 30_000
    with pipe() as (reader, writer), writing(writer) as log:
        log(says(line))
        log(says("next"))
        got = b""
        while not got.endswith(b"next\n"):
            got += drain(reader)
            log.flush()
        assert got == line.encode() + b"\nnext\n"


@given(st.lists(st.sampled_from(["short", "long", "read", "flush", "stuff"]), max_size=30))
def test_lines_arrive_whole_in_order_and_dropped_ones_are_counted(acts):
    with pipe() as (reader, writer), writing(writer, max_waiting=3) as log:
        said, got, number = 0, b"", 0
        for act in acts:
            if act == "read":
                got += drain(reader)
            elif act == "flush":
                log.flush()
            elif act == "stuff" and not log._waiting:
                got += drain(reader)
                stuff(writer)
            elif act in ("short", "long"):
                number += 1
                said += 1
                log(says(f"{number} " + "x" * (9_000 if act == "long" else 5)))
        while log._waiting:
            got += drain(reader)
            log.flush()
        got += drain(reader)
        numbers, dropped = [], 0
        for line in got.replace(b"#", b"").decode().splitlines():
            if line.startswith("{"):
                dropped += json.loads(line.replace("'", '"'))["count"]
            else:
                count, rest = line.split(" ")
                assert set(rest) == {"x"}
                assert len(rest) in (5, 9_000)
                numbers.append(int(count))
        assert numbers == sorted(set(numbers))
        assert len(numbers) + dropped == said


def test_lines_that_wait_are_tried_again_later_and_only_once_at_a_time():
    with pipe() as (reader, writer), writing(writer) as log:
        later = []
        log.attend(lambda _, function: later.append(function), pytest.fail)
        filling = stuff(writer)
        log(says("one"))
        log(says("two"))
        assert len(later) == 1
        later.pop()()
        assert len(later) == 1
        assert drain(reader) == b"#" * filling
        later.pop()()
        assert later == []
        assert drain(reader) == b"one\ntwo\n"


def test_after_a_fork_waiting_lines_are_left_to_the_parent():
    with pipe() as (reader, writer), writing(writer, max_waiting=1) as log:
        later = []
        log.attend(lambda _, function: later.append(function), pytest.fail)
        filling = stuff(writer)
        log(says("the parent's"))
        log(says("dropped by the parent"))
        log.forget()
        log(says("the child's"))
        assert len(later) == 1
        assert drain(reader) == b"#" * filling
        log.flush()
        assert drain(reader) == b"the child's\n"


def test_a_reader_that_is_gone_does_no_harm():
    reader, writer = os.pipe()
    with writing(writer) as log:
        os.close(reader)
        log(says("lost"))
        log(says("lost"))
        assert not log._waiting
    os.close(writer)


def test_a_descriptor_that_is_closed_does_no_harm():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with writing(writer) as log:
        log(says("lost"))
        assert not log._waiting


def test_a_disk_that_is_full_does_no_harm():
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with writing(descriptor) as log:
        log(says("lost"))
        assert not log._waiting
    os.close(descriptor)


def test_a_line_that_is_torn_by_a_full_disk_is_no_part_of_the_next_one(tmp_path):
    path = tmp_path / "host.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with writing(descriptor) as log:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            log(says("1234567890 and more"))
            log(says("lost"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log(says("two"))
        log(says("three"))
    os.close(descriptor)
    first, second, _dropped, last = path.read_text().splitlines()
    assert (first, second, last) == ("1234567890", "two", "three")


def test_a_file_is_shared_with_whoever_else_writes_to_the_descriptor(tmp_path):
    path = tmp_path / "host.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"before\n")
    with writing(descriptor) as log:
        log(says("one"))
        os.write(descriptor, b"a traceback\n")
        log(says("two"))
    os.close(descriptor)
    assert path.read_text() == "before\none\na traceback\ntwo\n"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_is_written_to_without_waiting_for_it(kind):
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs, writing(ours.fileno(), max_waiting=10) as log:
        for number in range(5_000):
            log(says(f"{number:099}"))
        assert len(log._waiting) == 10
        assert ours.getblocking()
        got = b""
        while log._waiting:
            got += theirs.recv(1 << 20)
            log.flush()
        numbers = [int(line) for line in got.splitlines()]
        assert numbers == list(range(len(numbers)))


def test_where_nothing_can_be_opened_anew_the_descriptor_is_polled():
    with pipe() as (reader, writer), writing(writer) as log:
        log._write = log._write_polled
        filling = stuff(writer)
        log(says("one"))
        assert drain(reader) == b"#" * filling
        log.flush()
        assert drain(reader) == b"one\n"
        log(says("y" * 3 * select.PIPE_BUF))
        got = drain(reader)
        while log._waiting:
            log.flush()
            got += drain(reader)
        assert got == b"y" * 3 * select.PIPE_BUF + b"\n"


def test_closing_writes_what_waits_if_somebody_reads():
    with pipe() as (reader, writer), writing(writer) as log:
        filling = stuff(writer)
        log(says("last"))
        assert drain(reader) == b"#" * filling
        log.close()
        assert drain(reader) == b"last\n"


def test_closing_writes_all_though_other_processes_fill_the_pipe_meanwhile():
    with pipe() as (reader, writer):
        full, children = stuff(writer), []
        for _ in range(4):
            children.append(os.fork())
            if not children[-1]:
                log = LogWriter(writer, words, Level.DEBUG, max_waiting=2000)
                for _ in range(100):
                    log(says("x" * 3000))  # there is room for one at a time
                log.close(20.0)
                os._exit(0)
        lines, data, left = 0, b"", full
        while lines < 4 * 100 and select.select([reader], [], [], 5.0)[0]:
            data = os.read(reader, 512)
            skipped = min(left, len(data))
            left -= skipped
            lines += data[skipped:].count(b"\n")
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        assert (lines, codes) == (4 * 100, [0] * 4)


def test_closing_gives_up_if_nobody_reads():
    with pipe() as (_, writer), writing(writer) as log:
        stuff(writer)
        log(says("last"))
        log.close(patience_seconds=0.0)
        assert log.uncounted == 1


def test_a_line_that_cannot_be_encoded_is_written_all_the_same():
    with pipe() as (reader, writer), writing(writer) as log:
        log(says("\udcff"))
        assert drain(reader) == b"\\udcff\n"


def test_the_first_event_of_a_host_reads_well():
    fields = {"name": "prefork", "version": "1.2", "pid": 7, "workers": 4}
    line = text_line(Record(HOST_STARTING, SECONDS, fields))
    assert line == f"{STAMP} info    prefork 1.2 starting: pid 7, 4 workers\n"


def test_a_line_that_is_told_while_another_is_written_follows_it():
    with pipe() as (reader, writer), writing(writer) as log:
        write, inner = log._write, []

        def interrupted(data):
            if not inner:  # as a __del__ that prints, which may run anywhere
                inner.append(log(says("second")))
            return write(data)

        log._write = interrupted
        log(says("first"))
        assert drain(reader) == b"first\nsecond\n"


def test_lines_of_many_threads_are_whole_and_each_is_there_once(tmp_path):
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    threads, each = 4, 500
    with writing(descriptor, max_waiting=threads * each) as log:

        def tell(thread):
            for number in range(each):
                log(says(f"{thread} {number}"))

        started = [threading.Thread(target=tell, args=(number,)) for number in range(threads)]
        for one in started:
            one.start()
        for one in started:
            one.join()
    os.close(descriptor)
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{a} {b}" for a in range(threads) for b in range(each))
    for thread in range(threads):
        mine = [line for line in lines if line.startswith(f"{thread} ")]
        assert mine == [f"{thread} {number}" for number in range(each)]


def test_a_line_that_another_thread_cannot_write_is_tried_again_by_the_loop():
    with pipe() as (reader, writer), writing(writer) as log:
        later, calls = [], []
        log.attend(lambda _, function: later.append(function), calls.append)
        filling = stuff(writer)
        other = threading.Thread(target=log, args=(says("one"),))
        other.start()
        other.join()
        assert (len(calls), later) == (1, [])
        calls.pop()()
        assert drain(reader) == b"#" * filling
        later.pop()()
        assert drain(reader) == b"one\n"


def test_after_the_loop_is_left_nothing_is_tried_again():
    with pipe() as (_, writer), writing(writer) as log:
        log.attend(lambda *call: pytest.fail(str(call)), pytest.fail)
        log.leave()
        stuff(writer)
        log(says("waits"))


def test_a_child_writes_though_a_thread_was_writing_at_the_fork():
    # It holds the lock as the other thread does, which the child does not have.
    with pipe() as (reader, writer), writing(writer) as log, log._at_work:
        log(says("the parent's"))
        assert drain(reader) == b""
        log.forget()
        log(says("the child's"))
        assert drain(reader) == b"the child's\n"


def test_what_is_told_after_the_end_is_written_all_the_same():
    with pipe() as (reader, writer), writing(writer) as log:
        log.close()
        log(says("late"))
        assert drain(reader) == b"late\n"

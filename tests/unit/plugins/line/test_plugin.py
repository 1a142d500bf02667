import itertools
import re
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from host import CloseReason, PluginError
from host.plugins.line import error
from host.plugins.line.session import State
from host.testing import Harness, check_protocol

CONVERSATION = [
    (b"PING\r\n", b"+PONG\r\n"),
    (b"ping hello\n", b"+hello\r\n"),
    (b"ECHO a  b\r\n", b"+a  b\r\n"),
    (b"*2\r\n$4\r\nECHO\r\n$7\r\none\r\ntw\r\n", b"$7\r\none\r\ntw\r\n"),
    (b"HELP\r\n", b"+PING [text], ECHO text, TIME, WORKER, STATS, HELP, QUIT\r\n"),
    (b"PIGN\r\n", b'-ERR unknown command "PIGN"; did you mean PING?\r\n'),
    (b"   \r\n", b"-ERR empty line; try HELP\r\n"),
]
QUIT = (b"QUIT\r\n", b"+bye\r\n")

LIMIT = 64

KEEP, SHY, FAILS, RAW = (f"support.liners:{name}" for name in ("Keep", "Shy", "Fails", "Raw"))
KEEP_WORDS = "support.liners:KeepWords"
CAPITALS, MIXED, WORDS, TURNS, RETURNS = (
    f"support.liners:{name}" for name in ("Capitals", "Mixed", "Words", "Turns", "Returns")
)
RAW_OPTIONS = {"line": {"commands": [RAW, "line"], "max_line_bytes": LIMIT}}


def batched(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.fixture(scope="module")
def shared():
    """One harness for all examples of the property tests."""
    with Harness("line", RAW, options=RAW_OPTIONS) as harness:
        yield harness


@pytest.mark.parametrize("options", [{}, {"encoding": "utf-8"}, {"long_lines": "close"}])
def test_conforms(options):
    check_protocol("line", CONVERSATION, farewell=QUIT, options={"line": options})


@pytest.mark.parametrize("unfinished", [b"*1\r\n$9\r\n", b"*1000\r\n$0\r\n\r\n", b"ECHO \xff\r"])
def test_other_messages_without_end(unfinished):
    check_protocol("line", CONVERSATION, unfinished=unfinished)


@given(line=st.binary(max_size=60))
def test_each_line_has_one_reply_of_one_line_without_what_a_terminal_acts_on(shared, line):
    line = line.replace(b"\n", b"").lstrip(b"*")
    # One ends it, with one reply, and the other says in many lines what this is.
    assume(not line.strip().upper().startswith((b"QUIT", b"HELLO")))
    connection = shared.connect()
    connection.feed(line + b"\r\nECHO " + line + b"\nPING end\n")
    *replies, end, rest = connection.take().split(b"\r\n")
    empty = not line  # which has none
    assert (len(replies), end, rest) == (1 if empty else 2, b"+end", b"")
    assert b"\n" not in b"".join(replies)
    assert b"\r" not in b"".join(replies)
    if replies[0].startswith(b"-ERR"):
        acted_on = {"Cc", "Zl", "Zp"}
        assert not acted_on.intersection(map(unicodedata.category, replies[0].decode()))
    connection.reset()


def test_error_takes_out_what_a_client_must_not_forge(connect):
    connection = connect()
    error(connection, "no\r\n+OK\x1b[2J")
    assert connection.take() == b"-ERR no  +OK\r\n"


@pytest.mark.parametrize(
    ("mode", "reply", "open_"),
    [
        ("reply", b"-ERR line longer than 64 bytes\r\n+PONG\r\n", True),
        ("skip", b"+PONG\r\n", True),
        ("close", b"-ERR line longer than 64 bytes\r\n", False),
    ],
)
@pytest.mark.parametrize("piece", [1, 50, 10_000])
def test_a_line_too_long(connect, mode, reply, open_, piece):
    connection = connect(max_line_bytes=LIMIT, long_lines=mode)
    for part in batched(b"x" * 1000 + b"\r\nPING\r\n", piece):
        connection.feed(part)
    assert connection.take() == reply
    assert (connection.reason is None) is open_


@pytest.mark.parametrize(("size", "fits"), [(LIMIT - 1, True), (LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("piece", [1, 10_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_limit(connect, size, fits, piece, end):
    connection = connect(max_line_bytes=LIMIT)
    line = b"ECHO ".ljust(size, b"x")
    for part in batched(line + end, piece):
        connection.feed(part)
    reply = b"+" + line[5:] if fits else b"-ERR line longer than 64 bytes"
    assert connection.take() == reply + b"\r\n"


def test_invalid_bytes_have_an_error_reply_and_the_connection_goes_on(connect):
    connection = connect(encoding="utf-8")
    connection.feed(b"ECHO \xff\r\nECHO gr\xc3\xbc\xc3\x9fe\r\n")
    assert connection.take() == b"-ERR the line is not UTF-8\r\n+gr\xc3\xbc\xc3\x9fe\r\n"


@pytest.mark.parametrize(("encoding", "line"), [("bytes", b"caf\xc3\xa9"), ("utf-8", "caf\u00e9")])
def test_what_plugins_are_given(harness, encoding, line):
    started = harness("line", KEEP, options={"line": {"encoding": encoding, "commands": [KEEP]}})
    started.connect().feed(b"caf\xc3\xa9\n*2\r\n$3\r\na\nb\r\n$1\r\nc\r\n")
    joined = "a b c" if encoding == "utf-8" else b"a b c"
    assert started.plugin(KEEP).lines == [line, joined]


@pytest.mark.parametrize(
    ("commands", "replies"),
    [
        ([SHY, "line"], b"+shy\r\n+x\r\n"),
        (["line", SHY], b"+PONG\r\n+x\r\n"),
        ([SHY], b'+shy\r\n-ERR unknown command "ECHO"; did you mean ECHO?\r\n'),
    ],
)
def test_commands_are_asked_in_the_order_of_the_option(connect, commands, replies):
    connection = connect(SHY, commands=commands)
    connection.feed(b"PING\r\nECHO x\r\n")
    assert connection.take() == replies


@pytest.mark.parametrize(
    ("name", "cause"),
    [("support.liners:Shi", "not selected; did you mean"), ("echo", "does not implement on_line")],
)
def test_commands_that_cannot_answer_are_refused(name, cause):
    with pytest.raises(PluginError, match=cause):
        Harness("line", SHY, "echo", options={"line": {"commands": [name]}}).start()


def test_one_that_raises_is_named_and_ends_the_connection_alone(harness):
    options = {"line": {"commands": [SHY, FAILS]}}
    started = harness("line", SHY, FAILS, options=options, raises=False)
    one, other = started.connect(), started.connect()
    one.feed(b"PING\r\nx\r\nPING\r\n")
    assert (one.take(), one.reason) == (b"+shy\r\n", CloseReason.PLUGIN_FAILED)
    assert [(failure.plugin, failure.hook) for failure in started.failures] == [
        (FAILS, "on_readable")
    ]
    other.feed(b"PING\r\n")
    assert other.take() == b"+shy\r\n"


def test_what_a_plugins_own_framer_raises_is_not_taken_for_a_line_too_long(harness):
    frames = "support.liners:Frames"
    started = harness("line", frames, options={"line": {"commands": [frames]}}, raises=False)
    connection = started.connect()
    connection.feed(b"PING\r\n")
    assert (connection.take(), connection.reason) == (b"", CloseReason.PLUGIN_FAILED)
    assert started.failures[0].plugin == frames


@pytest.mark.parametrize("commands", [[CAPITALS], [CAPITALS, "line"]])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_replies_can_be_returned(connect, commands, count):
    """Both ways: by plugins that need the line alone, and by those that take the connection."""
    connection = connect(CAPITALS, commands=commands)
    lines = [b"line %d" % number for number in range(count)]
    connection.feed(b"".join(line + b"\r\n" for line in lines))
    assert connection.take() == b"".join(line.upper() + b"\r\n" for line in lines)


@pytest.mark.parametrize("others", [b"", b"HUSH\n"])
@pytest.mark.parametrize("commands", [[CAPITALS], [CAPITALS, "line"]])
def test_a_reply_may_be_any_bytes_like_object(connect, commands, others):
    connection = connect(CAPITALS, commands=commands)
    connection.feed(b"a\n" + others + b"ARRAY\n")
    assert connection.take() == b"A\r\nbytes in an array\r\n"


@pytest.mark.parametrize("options", [{}, {"arrays": False}])
def test_lines_that_are_not_answered_with_a_reply_do_not_disturb_the_others(connect, options):
    connection = connect(CAPITALS, commands=[CAPITALS], **options)
    connection.feed(b"a\nHUSH\nb\nNO\nc\n")
    unknown = b'-ERR unknown command "NO"; try HELP\r\n'
    assert connection.take() == b"A\r\nB\r\n" + unknown + b"C\r\n"


def test_what_is_returned_and_what_is_written_comes_in_the_order_of_the_lines(connect):
    connection = connect(MIXED, commands=[MIXED])
    connection.feed(b"x\nWRITE\nx\nNO\nBOTH\nBLOCK\nabx\nCLOSE\nx\n")
    assert connection.take().split(b"\r\n") == [
        b"RETURNED",
        b"WRITTEN",
        b"RETURNED",
        b'-ERR unknown command "NO"; try HELP',
        b"WRITTEN, RETURNED",
        b"GO ON",
        b"ab",
        b"RETURNED",
        b"BYE",
        b"",
    ]
    assert connection.reason is CloseReason.PLUGIN


def test_an_array_can_be_answered_with_a_returned_reply(connect):
    connection = connect(CAPITALS, commands=[CAPITALS])
    connection.feed(b"one\n*2\r\n$3\r\ntwo\r\n$5\r\nthree\r\nfour\n")
    assert connection.take() == b"ONE\r\nTWO THREE\r\nFOUR\r\n"


def test_with_an_encoding_plugins_get_text_even_if_they_need_the_line_alone(harness):
    options = {"line": {"commands": [KEEP], "encoding": "utf-8"}}
    started = harness("line", KEEP, options=options)
    started.connect().feed("größe\n".encode())
    assert started.plugin(KEEP).lines == ["größe"]


@pytest.mark.parametrize("commands", [[WORDS], [WORDS, "line"]])
def test_a_reply_that_is_no_bytes_is_refused(harness, commands):
    started = harness("line", WORDS, options={"line": {"commands": commands}}, raises=False)
    connection = started.connect()
    connection.feed(b"one\n")
    assert (connection.take(), connection.reason) == (b"", CloseReason.PLUGIN_FAILED)
    assert re.match(
        f"on_line of {WORDS}.* returned str; it must be", str(started.failures[0].error)
    )


@pytest.mark.parametrize("commands", [[CAPITALS], [CAPITALS, "line"]])
def test_what_was_answered_before_a_failure_is_sent(harness, commands):
    started = harness("line", CAPITALS, options={"line": {"commands": commands}}, raises=False)
    connection = started.connect()
    connection.feed(b"a\nb\nFAIL\nc\n")
    assert (connection.take(), connection.reason) == (b"A\r\nB\r\n", CloseReason.PLUGIN_FAILED)
    assert [failure.plugin for failure in started.failures] == [CAPITALS]


RAW_STREAM = (
    b"PING 1\r\n"
    b"BLOCK 5\r\na\r\n\nb"
    b"PING 2\r\n"
    b"TWICE 3\nabcdef"
    b"PIECES 4\r\nabcdPING 3\n"
    b"DOT\r\nx\ny\r\n.PING 4\r\n"
    b"BLOCK 200\r\n" + b"z" * 200 + b"*1\r\n$4\r\nPING\r\n"
)
RAW_REPLIES = (
    b"+1\r\n[a\r\n\nb]+2\r\n[abc][def]ABCD+3\r\nx\ny\r\n<end>+4\r\n[" + b"z" * 200 + b"]+PONG\r\n"
)


@given(cuts=st.lists(st.integers(0, len(RAW_STREAM)), max_size=10))
def test_lines_and_raw_bytes_in_turn_however_they_are_cut(shared, cuts):
    connection = shared.connect()
    for start, end in itertools.pairwise([0, *sorted(cuts), len(RAW_STREAM)]):
        connection.feed(RAW_STREAM[start:end])
    assert connection.take() == RAW_REPLIES
    connection.reset()


def test_raw_bytes_conform():
    conversation = [
        (RAW_STREAM, RAW_REPLIES),
        (b"DOT\r\n" + b"y" * 300 + b".", b"y" * 300 + b"<end>"),
    ]
    check_protocol(("line", RAW), conversation, options=RAW_OPTIONS)


@pytest.mark.parametrize("piece", [1, 10_000])
def test_raw_bytes_are_handed_on_as_they_come(harness, piece):
    connection = harness("line", RAW, options=RAW_OPTIONS).connect()
    connection.feed(b"PIECES 10000\n")
    for part in batched(b"x" * 9_999, piece):
        connection.feed(part)
        assert connection.take() == part.upper()


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_is_at_least_one(count):
    with pytest.raises(ValueError, match=f"count must be at least 1, not {count}"):
        State(100).block(count, lambda *_: None)


@pytest.mark.parametrize(
    "request_",
    [
        b"*1\r\n+PING\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*-1\r\n",
        b"*x\r\n",
        b"*1025\r\n",
        b"*9999999999\r\n",
        b"*1\r\n$65\r\n",
        b"*2\r\n$40\r\n" + b"x" * 40 + b"\r\n$40\r\n",
        b"*1\r\n$4\r\nPINGPING\r\n",
        b"*1\r\nPING\r\n",
    ],
)
def test_a_bad_array_ends_the_connection_since_nobody_knows_where_the_next_begins(
    connect, request_
):
    connection = connect(max_line_bytes=LIMIT)
    connection.feed(request_ + b"PING\r\n")
    assert re.fullmatch(rb"-ERR an array is [^\r\n]+\r\n", connection.take())
    assert connection.reason is CloseReason.PLUGIN


def test_an_empty_array_is_no_request(connect):
    connection = connect()
    connection.feed(b"*0\r\nPING\r\n")
    assert connection.take() == b"+PONG\r\n"


def test_arrays_can_be_left_out(connect):
    connection = connect(arrays=False)
    connection.feed(b"*1\r\n")
    assert connection.take() == b'-ERR unknown command "*1"; try HELP\r\n'


MARKS = {
    "connection.high_water_bytes": 10_000,
    "connection.low_water_bytes": 1000,
    "connection.read_size_bytes": 65_536,
}


def numbered(count, kind):
    texts = [b"%06d" % number for number in range(count)]
    form = {"lines": b"ECHO %b\r\n", "arrays": b"*2\r\n$4\r\nECHO\r\n$6\r\n%b\r\n"}[kind]
    reply = {"lines": b"+%b\r\n", "arrays": b"$6\r\n%b\r\n"}[kind]
    return b"".join(form % text for text in texts), b"".join(reply % text for text in texts)


@pytest.mark.parametrize("kind", ["lines", "arrays"])
def test_a_client_that_does_not_read_is_held_back_and_loses_nothing(harness, kind):
    requests, replies = numbered(20_000, kind)
    connection = harness("line", settings=MARKS).connect()
    connection.window = 0
    connection.feed(requests)
    assert connection.congested
    most = 10_000 + 16 * len(b"$6\r\n000000\r\n")  # so many are answered together
    assert connection.unsent <= most
    assert connection.unread > len(requests) - 70_000
    connection.feed_eof()
    connection.window = 777
    received = bytearray()
    while part := connection.take():
        received += part
        assert connection.unsent <= most
    assert received == replies
    assert connection.reason is CloseReason.PEER_FINISHED


@pytest.mark.parametrize("commands", [[CAPITALS], [CAPITALS, "line"]])
def test_a_client_that_does_not_read_returned_replies_is_held_back(harness, commands):
    options = {"line": {"commands": commands}}
    connection = harness("line", CAPITALS, options=options, settings=MARKS).connect()
    lines = [b"%06d" % number + 94 * b"x" + b"\r\n" for number in range(5000)]
    connection.window = 0
    connection.feed(b"".join(lines))
    assert connection.congested
    assert connection.unsent < 10_000 + 16 * 102
    connection.window = 777
    received = bytearray()
    while part := connection.take():
        received += part
        assert connection.unsent < 10_000 + 16 * 102
    assert received == b"".join(lines).upper()


@pytest.mark.parametrize("kind", ["lines", "arrays"])
def test_draining_waits_until_what_has_come_is_answered(harness, kind):
    requests, replies = numbered(2000, kind)
    started = harness("line", settings=MARKS)
    connection, idle = started.connect(), started.connect()
    connection.window = 0
    connection.feed(requests)
    started.drain()
    assert idle.reason is CloseReason.PLUGIN
    assert connection.reason is None
    connection.window = None
    assert connection.take() == replies
    assert connection.reason is CloseReason.PLUGIN


def test_nothing_is_answered_after_quit(connect):
    connection = connect()
    connection.feed(b"PING\r\nQUIT\r\nPING\r\n")
    assert connection.take() == b"+PONG\r\n+bye\r\n"
    assert connection.reason is CloseReason.PLUGIN


@pytest.mark.parametrize("kind", ["lines", "blocks", "nothing but ends of lines"])
def test_one_that_sends_much_at_once_leaves_the_others_their_turn(harness, kind):
    """The second client's line comes while the first one's 60,000 bytes are being answered."""
    options = {"line": {"commands": [TURNS]}}
    started = harness("line", TURNS, options=options, settings=MARKS)
    one, other = started.connect(), started.connect()
    turns = started.plugin(TURNS)
    turns.at_first = lambda: other.feed(b"other\n")
    request = {"lines": b"one\n", "blocks": b"BLOCK 2\nab", "nothing but ends of lines": b"\n"}[
        kind
    ]
    count = 60_000 // len(request)
    one.feed(request * count)
    assert len(turns.lines) == count + 1
    assert turns.lines.index(b"other") * len(request) < 7000
    assert one.unread == 0


ARRAY = b"*1\r\n$3\r\none\r\n"


@pytest.mark.parametrize(
    ("plugin", "request_"),
    [
        *((each, request) for each in (TURNS, RETURNS) for request in (b"one\n", ARRAY)),
        (TURNS, b"BLOCK 2\nab"),
    ],
)
@pytest.mark.parametrize("pieces", [100, 16])
def test_slow_answers_to_one_leave_the_others_their_turn_by_the_clock(
    harness, plugin, request_, pieces
):
    """Each line or block takes 5 ms: so a turn has one or two of them, also of 16 in a piece."""
    started = harness("line", plugin, options={"line": {"commands": [plugin]}}, settings=MARKS)
    one, other = started.connect(), started.connect()
    slow, now = started.plugin(plugin), 1000.0
    started.plugin("line")._share.clock = lambda: now

    fed = []

    def at_each(count):
        nonlocal now
        now += 0.005
        if count in (1, 9) and count not in fed:
            fed.append(count)
            other.feed(b"other\n")

    slow.at_each = at_each
    one.feed(request_ * pieces)
    first, second = (at for at, line in enumerate(slow.lines) if line == b"other")
    assert first <= 2
    assert second <= 11
    assert len(slow.lines) == pieces + 2


@pytest.mark.parametrize("request_", [b"one\n", ARRAY])
@pytest.mark.parametrize("plugin", [TURNS, RETURNS])
def test_slow_lines_after_fast_ones_of_another_connection_leave_the_others_their_turn(
    harness, plugin, request_
):
    """Each of the slow ones takes 300 ms; 16 of them in one turn would be taken for a hang."""
    started = harness("line", plugin, options={"line": {"commands": [plugin]}}, settings=MARKS)
    fast, slow, other = started.connect(), started.connect(), started.connect()
    turns, now = started.plugin(plugin), 1000.0
    started.plugin("line")._share.clock = lambda: now
    for _ in range(40):
        fast.feed(request_ * 16)
    turns.lines.clear()
    seen = []

    def at_each(_count):
        nonlocal now
        now += 0.3
        if not seen:
            seen.append(True)
            other.feed(b"other\n")

    turns.at_each = at_each
    slow.feed(request_ * 16)
    assert turns.lines.index(b"other") <= 2
    assert len(turns.lines) == 17


def test_of_many_who_send_much_at_once_one_has_its_share_in_the_turn_in_which_it_comes(harness):
    started = harness("line", TURNS, options={"line": {"commands": [TURNS]}}, settings=MARKS)
    clients = [started.connect() for _ in range(3)]
    turns = started.plugin(TURNS)

    def come():
        for client in clients[1:]:
            before = len(turns.lines)
            client.feed(b"later\n" * 1000)
            assert len(turns.lines) == before

    turns.at_each = lambda count: come() if count == 1500 else None
    clients[0].feed(b"first\n" * 2000)
    assert turns.lines.count(b"first") == turns.lines.count(b"later") == 2000
    assert [client.unread for client in clients] == [0, 0, 0]


def test_what_waits_for_its_turn_is_answered_before_a_drain_ends_the_connection(harness):
    started = harness("line", TURNS, options={"line": {"commands": [TURNS]}}, settings=MARKS)
    connection = started.connect()
    turns = started.plugin(TURNS)
    turns.at_first = started.drain
    connection.feed(b"one\n" * 10_000)
    assert len(turns.lines) == 10_000
    assert connection.reason is CloseReason.PLUGIN


@pytest.mark.parametrize(
    ("arrays", "replies"),
    [(True, b"+PONG\r\n"), (False, b"-ERR empty line; try HELP\r\n+PONG\r\n")],
)
def test_an_empty_line_is_no_request_where_redis_clients_are_to_be_served(connect, arrays, replies):
    connection = connect(arrays=arrays)
    connection.feed(b"\r\nPING\r\n")
    assert connection.take() == replies


def test_clients_of_redis_say_who_they_are_and_which_protocol_they_speak(connect):
    connection = connect()
    connection.feed(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n")
    assert connection.take().startswith(b"%7\r\n$6\r\nserver\r\n$7\r\nprefork\r\n")
    connection.feed(b"HELLO\r\n")
    assert connection.take().startswith(b"*14\r\n")
    connection.feed(b"HELLO 4\r\nCLIENT SETINFO lib-name x\r\nCLIENT KILL\r\nCOMMAND DOCS\r\n")
    assert connection.take() == (
        b"-NOPROTO unsupported protocol version\r\n+OK\r\n"
        b"-ERR CLIENT takes SETINFO and SETNAME here\r\n*0\r\n"
    )


def test_words_are_given_as_they_came(harness):
    options = {"line": {"commands": [KEEP_WORDS]}}
    started = harness("line", KEEP_WORDS, options=options)
    requests = b"*2\r\n$3\r\nSET\r\n$4\r\na\r\n \r\nSET b\r\n"
    started.connect().feed(requests)
    connection = started.connect()
    for at in range(len(requests)):
        connection.feed(requests[at : at + 1])
    given = [(b"SET a\r  ", (b"SET", b"a\r\n ")), (b"SET b", None)]
    assert started.plugin(KEEP_WORDS).given == 2 * given


def test_what_is_refused_is_counted_by_cause():
    options = {"line": {"max_line_bytes": LIMIT, "encoding": "utf-8"}}
    with Harness("line", options=options) as harness:
        connection = harness.connect()
        connection.feed(b"PIGN\r\nPING\r\n\xff\r\n")
        connection.feed(b"x" * (LIMIT + 1) + b"\r\n")
        connection.feed(b"*x\r\n")
        found = harness.metrics()
    name = 'prefork_line_refused_total{{cause="{}"}}'.format
    assert {cause: found[name(cause)] for cause in ("unknown", "not_utf8", "bad_array")} == {
        "unknown": 1,
        "not_utf8": 1,
        "bad_array": 1,
    }
    assert found[name("too_long")] == 1

import pytest
from prefork_keyvalue.plugin import REQUESTS_A_TURN
from prefork_keyvalue.reads import KEYS_AT_ONCE

from host.testing import Harness, check_protocol

CONVERSATION = [
    (b"flush_all\r\n", b"OK\r\n"),
    (b"set a 5 0 3\r\nabc\r\n", b"STORED\r\n"),
    (b"set b 0 0 0\r\n\r\n", b"STORED\r\n"),
    (b"get a b nix\r\n", b"VALUE a 5 3\r\nabc\r\nVALUE b 0 0\r\n\r\nEND\r\n"),
    (b"set n 0 0 2 noreply\r\n41\r\nincr n 1\r\n", b"42\r\n"),
    (b"add a 0 0 9\r\nset x 0 0\r\n", b"NOT_STORED\r\n"),
    (b"delete a\r\n", b"DELETED\r\n"),
    (b"nonsense\r\n", b"ERROR\r\n"),
]


def test_conforms():
    check_protocol("keyvalue", CONVERSATION, farewell=(b"quit\r\n", b""))


@pytest.mark.parametrize(
    "unfinished", [b"set a 0 0 99999999\r\n" + b"x" * 10_000, b"get " + b"k " * 10_000]
)
def test_what_has_no_end_is_bounded(unfinished):
    check_protocol("keyvalue", CONVERSATION, unfinished=unfinished)


@pytest.fixture
def ask(harness):
    connection = harness("keyvalue").connect()

    def ask(data):
        connection.feed(data)
        return connection.take()

    return ask


def store(key, value, command="set"):
    return b"%b %b 0 0 %d\r\n%b\r\n" % (command.encode(), key, len(value), value)


@pytest.mark.parametrize(
    ("before", "request_", "reply"),
    [
        ("", store(b"a", b"1", "add"), b"STORED"),
        ("1", store(b"a", b"1", "add"), b"NOT_STORED"),
        ("", store(b"a", b"1", "replace"), b"NOT_STORED"),
        ("1", store(b"a", b"1", "replace"), b"STORED"),
        ("", b"cas a 0 0 1 7\r\n1\r\n", b"NOT_FOUND"),
        ("1", b"cas a 0 0 1 12345\r\n1\r\n", b"EXISTS"),
        ("1", b"cas a 0 0 1 x\r\n1\r\n", b"CLIENT_ERROR bad command line format"),
        ("", b"delete a\r\n", b"NOT_FOUND"),
        ("1", b"delete a 0\r\n", b"DELETED"),
        (
            "1",
            b"delete a 5\r\n",
            b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]",
        ),
        ("", b"touch a 5\r\n", b"NOT_FOUND"),
        ("1", b"touch a 5\r\n", b"TOUCHED"),
        ("1", b"touch a x\r\n", b"CLIENT_ERROR invalid exptime argument"),
        ("", b"incr a 5\r\n", b"NOT_FOUND"),
        ("1", b"incr a 5\r\n", b"6"),
        ("18446744073709551615", b"incr a 2\r\n", b"1"),
        ("5", b"decr a 7\r\n", b"0"),
        ("10", b"decr a 1\r\n", b"9"),
        ("1", b"incr a +1\r\n", b"2"),
        ("x", b"incr a 1\r\n", b"CLIENT_ERROR cannot increment or decrement non-numeric value"),
        ("1", b"incr a -1\r\n", b"CLIENT_ERROR invalid numeric delta argument"),
        ("", b"get\r\n", b"ERROR"),
        ("", b"\r\n", b"ERROR"),
        ("", b"GET a\r\n", b"ERROR"),
        ("", b"get " + b"k" * 251 + b"\r\n", b"CLIENT_ERROR bad command line format"),
        ("", store(b"k" * 251, b"flush_all"), b"CLIENT_ERROR bad command line format"),
        ("", b"set a x 0 9\r\nflush_all\r\n", b"CLIENT_ERROR bad command line format"),
        ("", b"set a 4294967296 0 1\r\n1\r\n", b"STORED"),
        ("", b"set a 0 0 x\r\n", b"CLIENT_ERROR bad command line format"),
        ("", b"set a 0 0 -1\r\n", b"CLIENT_ERROR bad command line format"),
        ("", b"set a 0 0 2147483647\r\n", b"CLIENT_ERROR bad command line format"),
        ("", b"set a 0 0 1\r\nxyz", b"CLIENT_ERROR bad data chunk"),
        ("", b"flush_all x\r\n", b"CLIENT_ERROR invalid exptime argument"),
        ("1", b"flush_all\r\n", b"OK"),
    ],
)
def test_replies(ask, before, request_, reply):
    if before:
        assert ask(store(b"a", before.encode())) == b"STORED\r\n"
    assert ask(request_) == reply + b"\r\n"
    assert ask(b"get nix\r\n") == b"END\r\n"  # and the next command is understood


def test_cas_stores_over_the_version_that_it_names(ask):
    ask(store(b"a", b"1"))
    version = ask(b"gets a\r\n").split(b"\r\n")[0].split()[-1]
    assert ask(b"cas a 0 0 1 %b\r\n2\r\n" % version) == b"STORED\r\n"
    assert ask(b"cas a 0 0 1 %b\r\n3\r\n" % version) == b"EXISTS\r\n"
    assert ask(b"get a\r\n") == b"VALUE a 0 1\r\n2\r\nEND\r\n"


def test_noreply_is_silent_even_when_it_fails(ask):
    assert ask(b"add a 0 0 1 noreply\r\n1\r\nadd a 0 0 1 noreply\r\n2\r\n") == b""
    assert ask(b"incr nix 1 noreply\r\ndelete nix noreply\r\nflush_all 60 noreply\r\n") == b""
    assert ask(b"get a\r\n") == b"VALUE a 0 1\r\n1\r\nEND\r\n"


def test_a_value_may_hold_anything(ask):
    value = bytes(range(256)) + b"\r\nget a\r\n"
    ask(store(b"a", value))
    assert ask(b"get a\r\n") == b"VALUE a 0 %d\r\n%b\r\nEND\r\n" % (len(value), value)


def test_too_large_a_value_is_skipped_and_takes_the_old_one_along(harness):
    limits = {"keyvalue": {"max_item_bytes": 1024}}
    connection = harness("keyvalue", options=limits).connect()
    most, more = b"x" * (1024 - 60), b"flush_all\r\n" * 100
    connection.feed(store(b"a", most) + store(b"b", b"1") + store(b"a", more) + b"get a b\r\n")
    assert connection.take() == (
        b"STORED\r\nSTORED\r\nSERVER_ERROR object too large for cache\r\n"
        b"VALUE b 0 1\r\n1\r\nEND\r\n"
    )
    connection.feed(
        store(b"c", most) + b"append c 0 0 1\r\n1\r\nset c 1 0 964\r\n" + most + b"\r\n"
    )
    assert connection.take() == (
        b"STORED\r\nNOT_STORED\r\nSERVER_ERROR object too large for cache\r\n"
    )


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"set %b 0 0 %%d" % (b"k" * 251), 9),
        (b"set a x 0 %d", 9),
        (b"set a 0 x %d", 9),
        (b"set a -1 0 %d", 9),
        (b"set a 0 0 %d more words", 9),
        (b"set a b 0 0 %d", 9),
        (b"set a b c 0 0 %d", 9),
        (b"cas a 0 0 %d", 9),
        (b"cas a 0 0 %d x", 9),
        (b"cas a x 0 %d 7", 9),
        (b"cas a b 0 0 %d 7", 9),
        (b"append %b 0 0 %%d" % (b"k" * 251), 9),
        (b"ms a %d", 9),
        (b"ms a %d T0 c", 9),
        (b"set a 0 0 %d", 2_000_000),
        (b"add a 0 0 %d noreply", 2_000_000),
    ],
)
def test_the_value_of_a_line_that_is_refused_is_never_executed(ask, line, size):
    ask(store(b"here", b"1"))
    value = (b"flush_all" * (size // 9 + 1))[:size]
    reply = ask(line % size + b"\r\n" + value + b"\r\n")
    assert reply == b"" or reply.split()[0] in (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")
    assert reply.count(b"\r\n") <= 1
    assert ask(b"get here\r\n") == b"VALUE here 0 1\r\n1\r\nEND\r\n"


def test_values_come_before_and_behind(ask):
    assert ask(store(b"a", b"1", "append") + store(b"a", b"1", "prepend")) == b"NOT_STORED\r\n" * 2
    assert (
        ask(b"set a 7 0 1\r\n2\r\nappend a 1 1 1\r\n3\r\nprepend a 2 2 1\r\n1\r\n")
        == b"STORED\r\n" * 3
    )
    assert ask(b"get a\r\n") == b"VALUE a 7 3\r\n123\r\nEND\r\n"


def test_a_number_keeps_its_length(ask):
    ask(store(b"a", b"10"))
    assert ask(b"decr a 1\r\nget a\r\n") == b"9\r\nVALUE a 0 2\r\n9 \r\nEND\r\n"
    assert ask(b"incr a 91\r\nget a\r\n") == b"100\r\nVALUE a 0 3\r\n100\r\nEND\r\n"


def test_get_and_touch(ask):
    ask(store(b"a", b"1"))
    assert ask(b"gat 100 a nix\r\n") == b"VALUE a 0 1\r\n1\r\nEND\r\n"
    assert ask(b"gats -1 a\r\n").startswith(b"VALUE a 0 1 1\r\n1\r\n")
    assert ask(b"get a\r\n") == b"END\r\n"


@pytest.mark.parametrize("request_", [b"POST / HTTP/1.1", b"GET /?x HTTP/1.0", b"PRI * HTTP/2.0"])
def test_http_requests_are_hung_up_on(harness, request_):
    started = harness("keyvalue")
    connection = started.connect()
    connection.feed(request_ + b"\r\nHost: x\r\n\r\n" + store(b"evil", b"1") + b"get evil\r\n")
    assert (connection.take(), connection.closed) == (b"", True)
    other = started.connect()
    other.feed(b"get evil\r\n")
    assert other.take() == b"END\r\n"


def test_many_keys_are_looked_up_in_pieces(harness):
    started = harness("keyvalue")
    connection, other = started.connect(), started.connect()
    count = REQUESTS_A_TURN * KEYS_AT_ONCE
    connection.feed(store(b"a", b"1") + b"get" + b" a" * (count + 1) + b"\r\nversion\r\n")
    replies = connection.take()
    assert replies.startswith(
        b"STORED\r\n" + b"VALUE a 0 1\r\n1\r\n" * (count + 1) + b"END\r\nVERSION"
    )
    other.feed(b"stats\r\n")
    assert b"STAT conn_yields 1\r\n" in other.take()


def test_long_replies_wait_for_a_client_that_does_not_read(harness):
    connection = harness("keyvalue").connect()
    value = b"x" * 1_000_000
    connection.feed(store(b"a", value))
    assert connection.take() == b"STORED\r\n"
    connection.window = 0
    connection.feed(b"get" + b" a" * 100 + b"\r\n")
    assert connection.unsent < 2_500_000
    connection.window = None
    assert connection.take() == b"VALUE a 0 1000000\r\n%b\r\n" % value * 100 + b"END\r\n"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"x" * 3000, b""),
        (b"x" * 17_000 + b"\r\n", b""),
        (b"get " + b"k" * 1_048_576, b"SERVER_ERROR line too long\r\n"),
    ],
)
def test_lines_longer_than_any_command(harness, line, reply):
    connection = harness("keyvalue").connect()
    connection.feed(line)
    assert (connection.take(), connection.closed) == (reply, True)


def test_stats_and_version(ask):
    ask(store(b"a", b"1") + b"get a\r\nget nix\r\n")
    stats = dict(line.split()[1:] for line in ask(b"stats\r\n").splitlines()[:-1])
    assert stats[b"curr_items"] == b"1"
    assert stats[b"get_hits"] == stats[b"get_misses"] == stats[b"cmd_set"] == b"1"
    assert stats[b"curr_connections"] == stats[b"total_connections"] == b"1"
    assert ask(b"version\r\n") == b"VERSION 1.6.18\r\n"
    assert ask(b"stats reset\r\n") == b"RESET\r\n"
    stats = dict(line.split()[1:] for line in ask(b"stats\r\n").splitlines()[:-1])
    assert (stats[b"curr_items"], stats[b"get_hits"]) == (b"1", b"0")


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"stats items", b"STAT items:1:number 2\r\n"),
        (b"stats slabs", b"STAT active_slabs 1\r\n"),
        (b"stats settings", b"STAT item_size_max 1048576\r\n"),
        (b"stats cachedump 1 1", b"ITEM b [2 b; 0 s]\r\nEND\r\n"),
        (b"stats cachedump 1 0", b"ITEM b [2 b; 0 s]\r\nITEM a [1 b; 0 s]\r\nEND\r\n"),
        (b"stats cachedump 2 0", b"END\r\n"),
        (b"stats cachedump 64 0", b"CLIENT_ERROR Illegal slab id\r\n"),
        (b"stats cachedump x 0", b"CLIENT_ERROR bad command line format\r\n"),
        (b"stats cachedump", b"CLIENT_ERROR bad command line\r\n"),
        (b"stats nonsense", b"ERROR\r\n"),
    ],
)
def test_tables(ask, request_, reply):
    ask(store(b"a", b"1") + store(b"b", b"22"))
    assert reply in ask(request_ + b"\r\n")


def test_what_verbosity_and_cache_memlimit_set_is_shown(ask):
    assert ask(b"verbosity 1\r\ncache_memlimit 50\r\n") == b"OK\r\nOK\r\n"
    settings = ask(b"stats settings\r\n")
    assert b"STAT verbosity 1\r\n" in settings
    assert b"STAT maxbytes 52428800\r\n" in settings
    assert ask(b"cache_memlimit 65\r\n").startswith(b"MEMLIMIT_ADJUST_FAILED")
    assert ask(b"cache_memlimit 7\r\n").startswith(b"MEMLIMIT_TOO_SMALL")


def test_requests_that_have_come_are_answered_before_a_drain(harness):
    started = harness("keyvalue")
    connection = started.connect()
    connection.feed(store(b"a", b"1") + b"get a\r\nset b 0 0 5\r\nxx")
    assert connection.take() == b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n"
    started.drain()
    assert connection.closed


def test_several_workers_are_refused():
    with pytest.raises(RuntimeError, match="Start the host with --workers 1"):
        Harness("keyvalue", workers=2).start()


def test_a_real_host(host_server):
    host = host_server("keyvalue")
    with host.connect() as client:
        client.sendall(store(b"a", b"1") + b"get a\r\nquit\r\n")
        with client.makefile("rb") as replies:
            assert replies.read() == b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n"
    assert host.stop() == 0

import pytest

from host.testing import Harness, check_protocol

PLUGINS = ("line", "keyvalue")
OPTIONS = {"line": {"commands": ["keyvalue"], "arrays": False, "long_lines": "close"}}

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
    check_protocol(PLUGINS, CONVERSATION, farewell=(b"quit\r\n", b""), options=OPTIONS)


def test_an_upload_without_end_is_bounded():
    check_protocol(
        PLUGINS,
        CONVERSATION,
        unfinished=b"set a 0 0 99999999\r\n" + b"x" * 10_000,
        options=OPTIONS,
    )


@pytest.fixture
def ask(harness):
    connection = harness(*PLUGINS, options=OPTIONS).connect()

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
        ("1", b"cas a 0 0 1\r\n", b"ERROR"),
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
        ("x", b"incr a 1\r\n", b"CLIENT_ERROR cannot increment or decrement non-numeric value"),
        ("1", b"incr a -1\r\n", b"CLIENT_ERROR invalid numeric delta argument"),
        ("", b"get\r\n", b"ERROR"),
        ("", b"\r\n", b"ERROR"),
        ("", b"GET a\r\n", b"ERROR"),
        ("", b"get " + b"k" * 251 + b"\r\n", b"CLIENT_ERROR bad command line format"),
        ("", store(b"k" * 251, b"flush_all"), b"CLIENT_ERROR bad command line format"),
        ("", b"set a x 0 9\r\nflush_all\r\n", b"CLIENT_ERROR bad command line format"),
        ("", b"set a 4294967296 0 1\r\n1\r\n", b"CLIENT_ERROR bad command line format"),
        ("", b"set a 0 0 x\r\n", b"CLIENT_ERROR bad command line format"),
        ("", b"set a 0 0 -1\r\n", b"CLIENT_ERROR bad data chunk"),
        ("", b"set a 0 0 1\r\nxyz", b"CLIENT_ERROR bad data chunk"),
        ("", b"flush_all x\r\n", b"CLIENT_ERROR bad command line format"),
        ("", b"stats slabs\r\n", b"ERROR"),
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
    limits = OPTIONS | {"keyvalue": {"max_item_bytes": 10}}
    connection = harness(*PLUGINS, options=limits).connect()
    connection.feed(store(b"a", b"0123456789") + store(b"a", b"flush_all\r\n") + b"get a\r\n")
    assert connection.take() == b"STORED\r\nSERVER_ERROR object too large for cache\r\nEND\r\n"


def test_too_much_for_one_reply(harness):
    limits = OPTIONS | {"keyvalue": {"max_reply_bytes": 100}}
    connection = harness(*PLUGINS, options=limits).connect()
    connection.feed(store(b"a", b"x" * 60) + b"get a\r\nget a a\r\n")
    assert connection.take().endswith(
        b"END\r\nSERVER_ERROR too much for one reply: ask for fewer keys at once\r\n"
    )


def test_stats_and_version(ask):
    ask(store(b"a", b"1") + b"get a\r\nget nix\r\n")
    stats = dict(line.split()[1:] for line in ask(b"stats\r\n").splitlines()[:-1])
    assert stats[b"curr_items"] == b"1"
    assert stats[b"get_hits"] == stats[b"get_misses"] == stats[b"cmd_set"] == b"1"
    assert ask(b"version\r\n").startswith(b"VERSION ")


def test_several_workers_are_refused():
    with pytest.raises(RuntimeError, match="Start the host with --workers 1"):
        Harness(*PLUGINS, options=OPTIONS, workers=2).start()


def test_a_real_host(host_server):
    host = host_server(*PLUGINS, options=OPTIONS)
    with host.connect() as client:
        client.sendall(store(b"a", b"1") + b"get a\r\nquit\r\n")
        with client.makefile("rb") as replies:
            assert replies.read() == b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n"
    assert host.stop() == 0

import inspect
import re
import subprocess
import sys

import pytest

import host.interfaces
from host import BUS_LEFT, BUS_TAKEN, CloseReason, PluginError
from host.plugin.catalog import catalog
from host.plugins.echo import Echo
from host.settings import SettingsError
from host.testing import (
    Conversation,
    FakeConnection,
    FakeWorker,
    Harness,
    MemoryBus,
    check_protocol,
)

DEVIANTS = "support.deviants"
CONVERSATION = [(b"one\n", b"ONE\n"), (b"two words\n", b"TWO WORDS\n")]


def names_of(kind):
    return {name for name in vars(kind) if not name.startswith("_")} | set(
        inspect.get_annotations(kind)
    )


# Fake connections


@pytest.mark.parametrize(
    ("fake", "kind"),
    [
        (FakeConnection(), host.interfaces.Connection),
        (FakeWorker(), host.interfaces.Worker),
        (FakeWorker().bus, host.interfaces.Bus),
    ],
    ids=["connection", "worker", "bus"],
)
def test_fakes_have_all_that_plugins_may_use(fake, kind):
    assert {name for name in names_of(kind) if not hasattr(fake, name)} == set()


def test_a_connection_by_itself():
    connection = FakeConnection(b"hello")
    Echo().on_readable(connection)
    assert connection.take() == b"hello"
    assert connection.take() == b""
    connection.feed(b" world")
    assert connection.unread == 6
    assert connection.read() == b" world"
    assert connection.read() == b""
    assert not connection.eof
    connection.feed_eof()
    assert connection.read() == b""
    assert connection.eof
    assert connection.reason is CloseReason.PEER_FINISHED


def test_what_is_written_before_close_arrives_and_what_is_written_after_it_does_not():
    connection = FakeConnection()
    connection.write(bytearray(b"a"))
    connection.close()
    connection.write(b"b")
    assert connection.closed
    assert connection.take() == b"a"
    assert connection.reason is CloseReason.PLUGIN


def test_a_half_open_connection_stays():
    connection = FakeConnection()
    connection.allow_half_open = True
    connection.feed_eof()
    assert connection.read() == b""
    connection.write(b"late")
    assert connection.take() == b"late"
    assert connection.reason is None


def test_a_peer_that_does_not_read():
    connection = FakeConnection()
    connection.window = 100
    called = []
    connection.call_when_writable(called.append)
    connection.write(b"x" * 300_000)
    assert connection.sent == b"x" * 100
    assert (connection.congested, connection.unsent, called) == (True, 299_900, [])
    connection.window = 250_000
    assert (connection.congested, called) == (False, [connection])
    connection.window = None
    assert connection.take() == b"x" * 300_000
    assert connection.unsent == 0


def test_a_peer_that_reads_little_by_little():
    connection = FakeConnection()
    connection.window = 3
    connection.write(b"abcdefgh")
    assert [connection.take(2) for _ in range(5)] == [b"ab", b"cd", b"ef", b"gh", b""]


def test_too_much_unsent_ends_the_connection():
    connection = FakeConnection()
    connection.window = 0
    connection.write(b"x" * 17_000_000)
    assert connection.reason is None  # one piece may be larger, if nothing waited before it
    connection.write(b"x")
    assert connection.reason is CloseReason.UNSENT_LIMIT


def test_a_peer_that_resets():
    connection = FakeConnection(b"hello")
    connection.reset()
    assert connection.read() == b""
    assert connection.reason is CloseReason.RESET


def test_nobody_sends_after_the_end():
    connection = FakeConnection()
    connection.feed_eof()
    with pytest.raises(ValueError, match="has finished sending"):
        connection.feed(b"x")


# Workers and the bus


def test_timers_are_called_when_time_passes_in_order():
    worker, called = FakeWorker(), []
    worker.call_later(2, lambda: called.append("second"))
    worker.call_later(1, lambda: worker.call_later(0.5, lambda: called.append("first")))
    worker.call_later(1, lambda: called.append("never")).cancel()
    worker.call_from_thread(lambda: called.append("soon"))
    worker.run()
    assert called == ["soon"]
    worker.advance(1.9)
    assert called == ["soon", "first"]
    worker.advance(0.1)
    assert called == ["soon", "first", "second"]


def test_an_error_in_a_timer_is_raised_where_time_passes():
    worker = FakeWorker()
    worker.call_later(1, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError) as raised:
        worker.advance(1)
    assert "raised by call of" in raised.value.__notes__[0]
    worker.advance(1)


@pytest.fixture
def pair():
    bus = MemoryBus()
    one = FakeWorker(0, bus=bus)
    return one, FakeWorker(1, bus=bus, loop=one.loop)


def test_workers_share_tables_hear_prefixes_and_are_told_of_their_messages(pair):
    one, other = pair
    heard, told = [], []
    other.bus.subscribe("news.", heard.append, prefix=True)
    assert one.bus.publish("news.now", b"1", done=told.append)
    one.bus.table("flags").set("a", b"1", told.append)
    one.run()
    other.bus.table("flags").get("a", lambda *found: told.append(found))
    one.run()
    assert [message.payload for message in heard] == [b"1"]
    assert told == [True, True, (True, b"1")]


def test_messages_reach_all_in_order_with_those_that_are_retained(pair):
    one, two = pair
    heard = []
    for payload in (b"1", b"2", b"3"):
        assert one.bus.publish("news", payload, retain=2)
    two.bus.subscribe("news", heard.append, lambda: heard.append("ready"))
    one.run()
    two.bus.publish("news", b"4")
    one.run()
    kinds = [(m.payload, m.retained) if m != "ready" else m for m in heard]
    assert kinds == [(b"2", True), (b"3", True), "ready", (b"4", False)]
    assert heard[-1].sender == two.bus.member


def test_a_key_has_one_owner_until_it_is_gone(harness):
    started = harness("echo", workers=2)
    one, two = started.workers
    answers, left = [], []
    two.bus.subscribe(BUS_LEFT, lambda message: left.append(message.payload.decode()))
    one.bus.claim("nick", answers.append)
    two.bus.claim("nick", answers.append)
    started.run()
    assert answers == [True, False]
    started.kill(0)
    two.bus.claim("nick", answers.append)
    started.run()
    assert (answers, left) == ([True, False, True], [one.bus.member])
    assert started.workers == [two]


def test_an_overloaded_bus_drops(pair):
    one, _ = pair
    bus = MemoryBus()
    worker = FakeWorker(5, bus=bus)
    bus.overloaded = True
    assert not worker.bus.publish("news", b"1")
    with pytest.raises(BlockingIOError):
        worker.bus.subscribe("news", lambda _: None)
    bus.overloaded = False
    assert worker.bus.publish("news", b"1")
    assert one.bus.publish("news", b"1")


def test_while_the_broker_is_away_messages_wait_and_questions_have_an_answer():
    bus = MemoryBus()
    one = FakeWorker(0, bus=bus)
    other = FakeWorker(1, bus=bus, loop=one.loop)
    heard, told = [], []
    one.bus.subscribe("news", heard.append)
    one.run()
    bus.away = True
    assert one.bus.publish("news", b"1", done=told.append)
    one.bus.claim("key", told.append)
    one.bus.table("flags").get("a", lambda *found: told.append(found))
    one.bus.subscribe("late", heard.append, lambda: told.append("ready"))
    one.advance(1.9)
    assert (heard, told) == ([], [(False, None)])
    one.advance(0.2)
    assert told.pop() is False
    one.bus.claim("key", told.append)
    bus.leave(other.pid)
    bus.away = False
    one.run()
    assert told == [(False, None), True, "ready", True]
    assert [message.payload for message in heard] == [b"1"]
    assert one.bus.fence("key") is not None


def test_who_was_taken_for_dead_hears_that_and_which_keys_it_has_lost():
    bus, heard, answers = MemoryBus(), [], []
    one = FakeWorker(0, bus=bus)
    other = FakeWorker(1, bus=bus, loop=one.loop)
    for worker in (one, other):
        worker.bus.subscribe(BUS_LEFT, heard.append)
        worker.bus.subscribe(BUS_TAKEN, heard.append)
    for key in ("kept", "lost"):
        one.bus.claim(key, answers.append)
    one.run()
    bus.declare_left(one.pid)
    bus.take_key("lost")
    bus.take_key("nobody's")
    one.run()
    said = [(message.topic, message.payload.decode()) for message in heard]
    assert sorted(said) == [(BUS_LEFT, one.bus.member)] * 2 + [(BUS_TAKEN, "lost")]
    for key in ("lost", "nobody's", "kept"):
        other.bus.claim(key, answers.append)
    one.run()
    assert answers == [True, True, False, False, False]
    assert (one.bus.fence("lost"), one.bus.fence("kept")) == (None, 1)


# The harness


def test_plugins_hear_what_they_would_hear_from_a_host(harness):
    started = harness("support.everything:Everything", workers=2)
    connection = started.connect(1)
    connection.feed(b"x")
    started.stop()
    heard = [started.plugin("support.everything:Everything", slot).heard for slot in (0, 1)]
    assert heard[0] == ["on_host_start", "on_worker_start", "on_worker_stop"]
    assert heard[1] == [
        *("on_host_start", "on_worker_start", "on_accept", "on_readable", "on_drain"),
        *("on_close: still open at the drain deadline", "on_worker_stop"),
    ]


def test_what_a_plugin_raises_is_raised_by_what_made_it_happen(harness):
    started = harness(f"{DEVIANTS}:Trusts")
    connection, other = started.connect(), started.connect()
    with pytest.raises(UnicodeDecodeError) as raised:
        connection.feed(b"\xff\n")
    assert raised.value.__notes__ == [f"raised by on_readable of plugin {DEVIANTS}:Trusts"]
    assert connection.reason is CloseReason.PLUGIN_FAILED
    other.feed(b"fine\n")
    assert other.take() == b"FINE\n"


def test_failures_can_be_kept_instead():
    with Harness(f"{DEVIANTS}:Trusts", raises=False) as harness:
        harness.connect().feed(b"\xff\n")
        (failure,) = harness.failures
    assert (failure.hook, type(failure.error)) == ("on_readable", UnicodeDecodeError)


def test_time_outs_of_the_host(harness):
    settings = {"limits.idle_timeout_seconds": 10, "connection.write_timeout_seconds": 100}
    started = harness("echo", settings=settings)
    idle, stalled = started.connect(), started.connect()
    stalled.window = 0
    for _ in range(25):
        stalled.feed(b"x")
        started.advance(5)
    assert idle.reason is CloseReason.IDLE
    assert stalled.reason is CloseReason.WRITE_TIMEOUT


def test_refuses_what_a_host_refuses():
    with pytest.raises(PluginError, match="did you mean"):
        Harness("ehco")
    with pytest.raises(SettingsError, match="max_line_bytes = 1 "):
        Harness("line", options={"line": {"max_line_bytes": 1}})
    with pytest.raises(SettingsError, match="limits"):
        Harness("echo", settings={"limits.nonsense": 1})


# The conformance check


def test_a_protocol_that_conforms():
    check_protocol(f"{DEVIANTS}:Right", CONVERSATION, farewell=(b"bye\n", b""))


SHIPPED = {
    "chat": {
        "conversation": [
            (b"/rooms\r\n", b"-- there are no rooms yet\r\n"),
            (b"hello\n", b"!! you are in no room: /join #lobby, for example\r\n"),
            (b"/nix\r\n", b"!! there is no /nix: try /help\r\n"),
        ],
        "greeting": re.compile(rb"(-- [^\r\n]+\r\n){3}"),
        "farewell": (b"/quit\r\n", b"-- goodbye\r\n"),
        "options": {"chat": {"messages_per_second": 1e9, "burst": 1_000_000}},
    },
    "echo": {"conversation": [(b"hello", b"hello"), (b"\x00" * 3000, b"\x00" * 3000)]},
    "line": {
        "conversation": [(b"PING\r\n", b"+PONG\r\n"), (b"ECHO x\n", b"+x\r\n")],
        "farewell": (b"QUIT\r\n", b"+bye\r\n"),
    },
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_protocols_conform(name):
    check_protocol(name, **SHIPPED[name])


def test_all_shipped_protocols_are_checked():
    protocols = {
        entry.name
        for entry in catalog()
        if entry.distribution == "prefork" and "on_readable" in entry.implements
    }
    wrappers = {"record_trace"}
    with_apps = {"asgi"}  # which conform or not: tests/process/test_asgi.py judges it
    assert protocols - wrappers - with_apps == set(SHIPPED)


@pytest.mark.parametrize(
    ("deviant", "check", "message"),
    [
        ("Splits", "byte by byte", r"request 1, b'one\\n': expected b'ONE\\n', got b'O\\nN"),
        ("OneAtATime", "several at once", "expected b'ONE\\\\nTWO"),
        ("Hoards", "oversize", "bytes are kept of a message that does not end, 2097152 are allow"),
        ("Floods", "slow reader", "stop at connection.congested"),
        ("Trusts", "junk", "UnicodeDecodeError: .*; raised by on_readable of plugin .*; round"),
        ("Forgets", "close in the middle", "ValueError: the line is not finished; raised by on_"),
        ("Stays", "farewell", r"the farewell b'bye\\n': more is sent after its reply b'': b'ONE"),
        ("StaysSilent", "farewell", r"the farewell b'bye\\n': the connection is still open"),
        ("Aborts", "farewell", r"the farewell b'bye\\n': the connection was reset, which may cost"),
        ("SaysMore", "farewell", r"the farewell b'bye\\n': more is sent after its reply b'': b'so"),
        ("Lingers", "half-close", "the end of file: the connection is still open"),
        ("Stalls", "slow reader", r"a peer that reads again gets \d+ of 140 bytes .*call_when"),
        ("HangsUp", "slow reader", r"a peer that reads again gets 16394 of 131082 bytes"),
        ("Hides", "slow reader", r"not held back, though only \d+ bytes of its 131082 bytes"),
    ],
)
def test_a_protocol_that_does_not_conform(deviant, check, message):
    long_reply = [(b"x\n", b"X" * 500 + b"\n")] if deviant == "Floods" else []
    with pytest.raises(AssertionError, match=rf"(?m)^  {check}: .*{message}"):
        check_protocol(f"{DEVIANTS}:{deviant}", CONVERSATION + long_reply, farewell=(b"bye\n", b""))


def test_a_wrong_conversation_is_told_once():
    with pytest.raises(AssertionError) as raised:
        check_protocol("echo", [(b"hello", b"hullo")])
    assert str(raised.value).splitlines() == [
        "echo does not conform:",
        "  whole: request 1, b'hello': expected b'hullo', got b'hello', differing from byte 1 on",
        "  the other checks have no sense before the conversation is right",
    ]


@pytest.mark.parametrize("conversation", [[], [(b"", b"x")]])
def test_a_conversation_has_requests(conversation):
    with pytest.raises(ValueError, match="at least one request"):
        check_protocol("echo", conversation)


# The package


def test_the_pytest_plugin_imports_nothing_of_the_host():
    code = (
        "import sys, prefork_pytest\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'host'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_workers_go_by_their_slots_also_when_one_has_died(harness):
    started = harness("echo", workers=3)
    others = started.plugin("echo", 1), started.plugin("echo", 2)
    started.kill(0)
    assert (started.plugin("echo", 1), started.plugin("echo", 2)) == others
    with pytest.raises(ValueError, match="no worker in slot 0; there are some in 1, 2"):
        started.kill(0)


@pytest.mark.parametrize(
    "exchange", [(b"one", re.compile(b"ONE")), ("one", "ONE"), (b"one", b"ONE", b"more")]
)
def test_an_exchange_is_two_pieces_of_bytes(exchange):
    with pytest.raises(TypeError, match="both bytes, not"):
        Conversation([exchange])

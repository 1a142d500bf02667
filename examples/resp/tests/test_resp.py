import pytest
from streams import as_array

from host import CloseReason
from host.testing import FakeConnection, Harness, check_protocol

CONVERSATION = [
    (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
    (b"FLUSHALL\r\n", b"+OK\r\n"),
    (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n\r\n\x00\xff\r\n", b"+OK\r\n"),
    (b"GET a\r\n", b"$4\r\n\r\n\x00\xff\r\n"),
    (b"GET nothing\r\nINCR n\r\n", b"$-1\r\n:1\r\n"),
    (b"RPUSH l a b\r\nLRANGE l 0 -1\r\n", b":2\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
    (b"SUBSCRIBE c\r\nRESET\r\n", b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n+RESET\r\n"),
]
QUIT = (b"QUIT\r\n", b"+OK\r\n")


def test_conforms():
    check_protocol("resp", CONVERSATION, farewell=QUIT)


@pytest.mark.parametrize(
    "unfinished", [b"*1\r\n$9\r\n", b"*2\r\n$3\r\nGET\r\n$1000000\r\n", b"*60000\r\n$0\r\n\r\n"]
)
def test_other_requests_without_end(unfinished):
    check_protocol("resp", CONVERSATION, unfinished=unfinished, max_kept_bytes=8_388_608)


def client(harness, **options):
    return harness("resp", options={"resp": options}).connect()


def ask(connection, data):
    connection.feed(data)
    return connection.take()


def test_several_workers_are_refused_unless_there_are_no_keys(harness):
    with pytest.raises(RuntimeError, match="Start the host with --workers 1, or set"):
        Harness("resp", workers=2).start()
    harness("resp", options={"resp": {"keys": False}}, workers=2).start()


def test_without_keys_their_commands_are_unknown(harness):
    connection = client(harness, keys=False)
    assert ask(connection, b"GET a\r\n").startswith(b"-ERR unknown command 'GET'")
    assert ask(connection, b"PING\r\n") == b"+PONG\r\n"


def test_messages_reach_the_clients_of_all_workers(harness):
    hosts = harness("resp", options={"resp": {"keys": False}}, workers=3)
    listeners = [hosts.connect(worker=slot) for slot in (0, 0, 1, 2)]
    ask(listeners[0], b"HELLO 3\r\n")
    for listener in listeners:
        assert ask(listener, b"SUBSCRIBE news\r\n").endswith(b"$4\r\nnews\r\n:1\r\n")
    ask(listeners[3], b"PSUBSCRIBE n*\r\n")
    assert ask(hosts.connect(worker=0), as_array([b"PUBLISH", b"news", b"\r\n"])) == b":2\r\n"
    hosts.run()
    tail = b"\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\n\r\n\r\n"
    pattern = b"*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\n\r\n\r\n"
    assert [listener.take() for listener in listeners] == [
        b">3" + tail,
        b"*3" + tail,
        b"*3" + tail,
        b"*3" + tail + pattern,
    ]


def test_requests_messages_and_keys_are_counted(harness):
    hosts = harness("resp")
    listener, other = hosts.connect(), hosts.connect()
    ask(listener, b"SUBSCRIBE news\r\nPSUBSCRIBE n*\r\n")
    ask(other, b"SET a 1\r\nRPUSH l 1 2\r\nGET nothing\r\nnonsense\r\n")
    ask(other, b"PUBLISH news x\r\nPUBLISH nobodys x\r\n")
    hosts.advance(0.1)
    found = hosts.metrics()
    assert found["prefork_resp_requests_total"] == 8
    assert found["prefork_resp_published_messages_total"] == 2
    assert found["prefork_resp_delivered_messages_total"] == 3
    assert found["prefork_resp_keys"] == 2
    assert 0 < found["prefork_resp_stored_bytes"] < 10_000


def test_messages_are_counted_in_all_workers(harness):
    hosts = harness("resp", options={"resp": {"keys": False}}, workers=2)
    for slot in (0, 1):
        ask(hosts.connect(worker=slot), b"SUBSCRIBE news\r\n")
    ask(hosts.connect(worker=1), b"PUBLISH news x\r\n")
    hosts.run()
    found = hosts.metrics()
    assert found["prefork_resp_published_messages_total"] == 1
    assert found["prefork_resp_delivered_messages_total"] == 2
    assert not any("keys" in name for name in found)


def test_who_has_gone_hears_nothing(harness):
    hosts = harness("resp")
    listener, other = hosts.connect(), hosts.connect()
    ask(listener, b"SUBSCRIBE news\r\nPSUBSCRIBE *\r\n")
    listener.reset()
    assert ask(other, b"PUBLISH news x\r\n") == b":0\r\n"


def test_a_message_that_the_bus_does_not_take_is_refused(harness):
    connection = client(harness, max_request_bytes=4_000_000)
    reply = ask(connection, as_array([b"PUBLISH", b"c", bytes(1_048_576)]))
    assert reply == b"-ERR message longer than 1048572 bytes\r\n"
    assert ask(connection, as_array([b"PUBLISH", b"c", bytes(1_048_571)])) == b":0\r\n"


def test_a_pattern_that_takes_long_to_compile_is_refused(harness):
    connection = client(harness)
    reply = ask(connection, as_array([b"PSUBSCRIBE", b"a", b"?" * 513]))
    assert reply == b"-ERR pattern longer than 512 bytes\r\n"
    assert ask(connection, b"GET a\r\n") == b"$-1\r\n"


def test_nothing_is_stored_beyond_the_memory(harness):
    connection = client(harness, max_bytes=1_048_576)
    value = bytes(100_000)
    replies = [ask(connection, as_array([b"SET", b"%d" % each, value])) for each in range(12)]
    out_of_memory = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
    assert replies == [b"+OK\r\n"] * 11 + [out_of_memory]
    for refused in (b"SET 0 x\r\n", b"INCR n\r\n", b"LPUSH l a\r\n", b"RPUSH l a\r\n"):
        assert ask(connection, refused) == out_of_memory
    assert ask(connection, b"DEL 0\r\nSET 0 x\r\n") == b":1\r\n+OK\r\n"


def test_too_large_a_request_ends_the_connection(harness):
    connection = client(harness, max_request_bytes=64)
    assert ask(connection, b"*2\r\n$4\r\nECHO\r\n$61\r\n") == (
        b"-ERR Protocol error: invalid bulk length\r\n"
    )
    assert connection.closed


def test_one_client_does_not_hold_up_the_others(harness):
    plugin = harness("resp").plugin("resp")
    connection = FakeConnection(5000 * b"PING\r\n")
    plugin.on_accept(connection)
    plugin.on_readable(connection)  # what one turn has time for
    assert connection.data.framer.waiting > 5000 * len(b"PING\r\n") / 2
    assert connection.take() == 5000 * b"+PONG\r\n"


@pytest.mark.parametrize("request_", [b"GET big\r\n", b"LRANGE list 0 -1\r\n"])
def test_large_replies_wait_for_who_takes_none(harness, request_):
    connection = client(harness)
    value = bytes(500_000)
    ask(connection, as_array([b"SET", b"big", value]) + as_array([b"LPUSH", b"list", value]))
    connection.window = 0
    connection.feed(200 * request_)
    assert connection.unsent < 3 * len(value)
    connection.window = None
    assert connection.take().count(b"$500000\r\n") == 200


def test_a_client_is_answered_before_its_worker_goes(harness):
    hosts = harness("resp")
    connection = hosts.connect()
    connection.feed(b"PING\r\n")
    hosts.drain()
    assert connection.take() == b"+PONG\r\n"
    assert connection.reason is CloseReason.PLUGIN

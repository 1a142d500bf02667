"""A connection tells who it is, and plugins hear when it begins and when its worker goes away."""

import pytest

from host.interfaces import CloseReason
from host.runtime.loop import WRITE
from support.connections import Worker


def test_a_connection_that_on_accept_failed_for_is_closed():
    worker = Worker()
    worker.accept = lambda each: each.write(b"hello") or False
    _, sock = worker.connect()
    assert sock.taken == b"hello"
    assert worker.reasons == [CloseReason.PLUGIN_FAILED]


def test_on_accept_may_greet_and_close():
    worker = Worker()
    worker.accept = lambda each: (each.write(b"full"), each.close()) and True
    _, sock = worker.connect()
    assert sock.sends == [b"full"]
    assert worker.reasons == [CloseReason.PLUGIN]


def test_what_on_drain_does_is_done():
    worker = Worker()
    connection, sock = worker.connect()

    def on_drain(each, deadline):
        each.write(b"until %d" % deadline)
        each.close()

    worker.on_drain = on_drain
    connection.drain(12.0)
    assert sock.sends == [b"until 12"]
    assert worker.reasons == [CloseReason.PLUGIN]


def test_a_drained_connection_goes_on_unless_the_plugin_closes_it():
    worker = Worker()
    connection, _ = worker.connect(b"x")
    connection.drain(12.0)
    worker.turn(connection)
    assert worker.reasons == []


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("127.0.0.1", 50211), "127.0.0.1:50211"),
        (("::1", 50211, 0, 0), "[::1]:50211"),
        ("", "unix"),
    ],
)
def test_a_connection_tells_its_peer(address, peer):
    worker = Worker()
    connection, _ = worker.connect(address=address)
    assert connection.peer == peer
    assert (connection.id, connection.worker.slot) == ("4711-1", 1)
    assert repr(connection) == f"<connection 4711-1 from {peer}>"


def test_each_byte_either_way_is_activity():
    worker = Worker(low_water=1)
    connection, _ = worker.connect(b"x", takes=[1, 1])
    worker.loop.now = 101.0
    worker.turn(connection)
    assert connection.last_active == 101.0
    worker.loop.now = 102.0
    connection.write(b"abc")
    worker.end_turn()
    assert connection.last_active == 102.0
    worker.loop.now = 103.0
    worker.turn(connection, WRITE)
    assert connection.last_active == 103.0

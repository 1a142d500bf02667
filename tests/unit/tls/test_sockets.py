"""Connections are called again for what is inside their sessions, once a turn."""

import socket
import ssl
from contextlib import suppress

import pytest

from host.interfaces import CloseReason
from host.net.sockets import reset_on_close
from host.runtime.loop import READ, Loop
from host.tls.contexts import ServerContext
from host.tls.session import Session, TlsFailedError, TruncatedError
from host.tls.sockets import TlsSockets
from host.tls.tables import load_set
from support.bytecodes import counted_bytecodes
from support.certificates import table
from support.tls_records import Records, logging_secrets, secret_of


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def met(authority, loop, tmp_path):
    """A session that was adopted, its descriptor, and what sends bytes as its client."""
    settings = table(authority.files("a", "a.example"))
    server = ServerContext("public", settings, *load_set(settings))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = authority.client()
    secrets = logging_secrets(context, tmp_path)
    client = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    session, done = Session(server.front), False
    while not done:
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        session.feed(outgoing.read())
        done = session.step()
        session.flush(ours.fileno())
        incoming.write(theirs.recv(1 << 16))
    sockets = TlsSockets(loop, reset_on_close)
    sockets.adopt(ours.fileno(), session)

    def send(data):
        client.write(data)
        theirs.sendall(outgoing.read())

    send.records, send.raw = Records(secret_of(secrets)), theirs.sendall
    send.answer = theirs.recv
    with ours, theirs:
        yield sockets, ours.fileno(), send


def turns(loop, count):
    for _ in range(count):
        loop.run_once(0)


def test_a_part_that_was_read_is_followed_by_the_rest_a_turn_each(loop, met):
    sockets, fd, send = met
    found = []
    sockets.add(fd, READ, lambda _: found.append(sockets.read(fd, 4)))
    send(b"abcdefghij")
    loop.run_once(1)
    assert found == [b"abcd"]
    turns(loop, 1)
    assert found == [b"abcd", b"efgh"]
    turns(loop, 3)
    assert b"".join(found) == b"abcdefghij"


def test_who_does_not_wait_to_read_is_not_called_until_it_does(loop, met):
    sockets, fd, send = met
    found = []

    def read_once(_mask):
        found.append(sockets.read(fd, 4))
        sockets.remove(fd)

    sockets.add(fd, READ, read_once)
    send(b"abcdefgh")
    loop.run_once(1)
    turns(loop, 3)
    assert found == [b"abcd"]
    sockets.add(fd, READ, read_once)
    turns(loop, 3)
    assert found == [b"abcd", b"efgh"]


def test_who_was_closed_is_not_called(loop, met):
    sockets, fd, send = met
    closed = []

    def read_and_close(_mask):
        sockets.read(fd, 4)
        sockets.remove(fd)
        sockets.closing(closed.append)(fd)

    sockets.add(fd, READ, read_and_close)
    send(b"abcdefgh")
    loop.run_once(1)
    turns(loop, 3)
    assert closed == [fd]


@pytest.mark.parametrize("into", [False, True])
def test_records_that_openssl_is_given_later_are_followed_by_the_rest(loop, met, into):
    sockets, fd, send = met
    found, calls = bytearray(), []

    def read(_mask):
        calls.append(fd)
        buffer = bytearray(1000)
        with suppress(BlockingIOError):
            if into:
                found.extend(buffer[: sockets.read_into(fd, [buffer])])
            else:
                found.extend(sockets.read(fd, 1000))

    sockets.add(fd, READ, read)
    records = send.records
    few = b"".join(records.key_update() for _ in range(32)) + records.data(bytes(300))
    send.raw(few + b"".join(records.data(b"x") for _ in range(100)))
    loop.run_once(1)
    assert not found  # 32 of them had no data
    turns(loop, 1)
    assert found == bytes(300)
    turns(loop, 200)
    assert found == bytes(300) + b"x" * 100
    assert len(calls) == 102


def test_why_a_connection_ends(loop, met):
    sockets, _, _ = met
    assert sockets.reason_of(TruncatedError()) is CloseReason.TRUNCATED
    assert sockets.reason_of(TlsFailedError()) is CloseReason.TLS_FAILED
    assert sockets.reason_of(ConnectionResetError()) is CloseReason.RESET


@pytest.mark.parametrize("size", [64, 16_384])
def test_what_a_message_costs(met, size):
    """In bytecodes; the limits are a tenth above what Python 3.11 counts, as in test_hot_path."""
    sockets, fd, send = met
    read, write, data = sockets.read, sockets.write, bytes(size)

    def echo():
        write(fd, read(fd, 65_536))

    for _ in range(20):  # the interpreter adapts
        send(data)
        echo()
        assert len(send.answer(1 << 16)) > size
    send(data)
    with counted_bytecodes() as counts:
        echo()
    assert counts.total <= 176

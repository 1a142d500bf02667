"""A TLS client over a pair of sockets: one side ends while the other goes on, and cuts are seen."""

import socket
import ssl
import threading
from contextlib import suppress

import pytest

from host.testing.machine import patience
from host.testing.tls_client import TlsClient, make_certificate
from support.certificates import Authority


class Server:
    """The other end: its TLS lies in memory as well, so that the test says when it does what."""

    def __init__(self, sock, context):
        self.sock, self.arrived, self.leaving = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.arrived, self.leaving, server_side=True)

    def call(self, function, *arguments):
        """Call a function of the session until it needs no more from the client."""
        while True:
            try:
                return function(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                self.arrived.write(self.sock.recv(65_536))
            finally:
                self.flush()

    def flush(self):
        self.sock.sendall(self.leaving.read())


@pytest.fixture
def met(tmp_path):
    """Return a client and a server that have met."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.leaf("localhost").configure_cert(context)
    near, far = socket.socketpair()
    with near, far:
        for sock in (near, far):
            sock.settimeout(patience(5))
        server = Server(far, context)
        answering = threading.Thread(target=server.call, args=(server.tls.do_handshake,))
        answering.start()
        client = TlsClient(near, authority.client(), "localhost")
        client.meet()
        answering.join()
        yield client, server


def test_the_server_may_be_late(tmp_path):
    near, far = socket.socketpair()
    with near, far:
        client = TlsClient(near, Authority(tmp_path).client(), "localhost")  # nobody answers yet
        assert far.recv(1) == b"\x16"  # a handshake record (RFC 8446, 5.1)
        near.settimeout(0.01)
        with pytest.raises(TimeoutError):
            client.meet()
        client.close()


def test_what_is_sent_after_a_half_close_is_received(met):
    client, server = met
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert server.call(server.tls.read, 100) == b"question"
    assert server.call(server.tls.read, 100) == b""
    server.call(server.tls.write, b"answer")
    assert client.recv(100) == b"answer"


def test_the_end_is_told_apart_from_a_cut(met):
    client, server = met
    server.call(server.tls.write, b"answer")
    server.sock.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b"answer"
    with pytest.raises(ConnectionResetError, match="the server did not tell of its end"):
        client.recv(100)


def test_the_end_is_no_error(met):
    client, server = met
    with pytest.raises(ssl.SSLWantReadError):
        server.tls.unwrap()
    server.flush()
    assert client.recv(100) == b""


def test_what_the_socket_does_not_show_is_pending(met):
    client, server = met
    server.call(server.tls.write, b"answer")
    assert client.recv(2) == b"an"
    assert client.pending
    assert client.recv(100) == b"swer"
    assert not client.pending


def test_what_the_socket_does_not_take_is_kept_and_sent_later(met):
    client, server = met
    client.setblocking(False)
    sent = came = 0
    while not client.unsent:
        sent += client.send(bytes(16_384))
    with pytest.raises(BlockingIOError):
        client.send(b"more")
    while client.unsent:
        came += len(server.call(server.tls.read, 65_536))
        with suppress(BlockingIOError):
            client.recv(1)
    while came < sent:
        came += len(server.call(server.tls.read, 65_536))
    assert came == sent


def test_a_certificate_is_made_whose_key_nobody_else_may_read(tmp_path):
    certificate, key = make_certificate(tmp_path)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    assert key.stat().st_mode & 0o077 == 0

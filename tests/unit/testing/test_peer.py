"""Peers over a pair of sockets: what they take for right, and how they say what is wrong."""

import re
import socket

import pytest

from host.testing.conversation import NotConformingError
from host.testing.peer import Peer, is_cut


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with Peer(near, 0.05) as peer, far:
        yield peer, far


def test_a_reply_in_pieces(pair):
    peer, far = pair
    far.sendall(b"hel")
    far.sendall(b"lo, and more")
    peer.receive("request 1", b"hello")
    peer.receive("request 2", b", and more")


def test_what_has_come_is_taken_without_waiting(pair):
    peer, far = pair
    peer.receive_ready()
    far.sendall(b"early")
    peer.receive_ready()
    far.setblocking(False)
    far.sendall(b", late")
    peer.receive("request 1", b"early, late")


@pytest.mark.parametrize(
    ("sent", "ends", "message"),
    [
        (b"", False, r"request 1: expected b'hello', got nothing, nothing within 0\.05 s"),
        (b"hel", False, r"request 1: expected b'hello', got b'hel', nothing more within 0\.05 s"),
        (b"hel", True, "request 1: expected b'hello', got b'hel', then the end"),
        (b"hex", False, "request 1: expected b'hello', got b'hex', differing from byte 2 on"),
    ],
)
def test_what_does_not_come_is_told_with_what_came(pair, sent, ends, message):
    peer, far = pair
    far.sendall(sent)
    if ends:
        far.shutdown(socket.SHUT_WR)
    with pytest.raises(NotConformingError, match=f"^{message}$"):
        peer.receive("request 1", b"hello")


def test_a_greeting_may_be_a_pattern(pair):
    peer, far = pair
    far.sendall(b"welcome 17\n")
    peer.greeted(re.compile(rb"welcome \d+\n"))
    far.sendall(b"welcome x\n")
    with pytest.raises(NotConformingError, match="on connecting: expected what matches"):
        peer.greeted(re.compile(rb"welcome \d+\n"))


def test_the_rest_is_what_comes_before_the_end(pair):
    peer, far = pair
    far.sendall(b"bye")
    with pytest.raises(NotConformingError, match="the connection does not end: got b'bye'"):
        peer.rest("a farewell")
    far.close()
    assert peer.rest("a farewell") == (b"bye", "the end")


def test_a_peer_that_sends_first_gets_all_replies(pair):
    peer, far = pair
    far.sendall(b"x" * 5000)
    peer.exchange_slowly(b"y" * 100, b"x" * 5000)
    assert far.recv(1000) == b"y" * 100
    far.sendall(b"x")
    with pytest.raises(NotConformingError, match=r"^1 of 2 bytes of replies came, nothing more wi"):
        peer.exchange_slowly(b"", b"xx")


@pytest.mark.parametrize(
    ("got", "fits"),
    [
        (b"", True),
        (b"on", True),  # a part of the reply to the request that was coming
        (b"one\n", True),
        (b"one\ntwo\n", True),
        (b"bye\n", True),
        (b"one\nbye\n", True),
        (b"onbye\n", True),
        (b"one\ntw", False),
        (b"two\n", False),
        (b"one\nerror\n", False),
        (b"one\ntwo\nthree\n", False),
    ],
)
def test_a_connection_that_is_ended_in_good_order(got, fits):
    exchanges = [(b"1\n", b"one\n"), (b"2\n", b"two\n")]
    assert is_cut(got, exchanges, b"bye\n") is fits

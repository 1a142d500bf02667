"""Where the steps of handshakes are computed."""

import gc
import queue
import socket
import ssl
import weakref
from contextlib import suppress

import pytest
import trustme

from host.tls.contexts import ServerContext
from host.tls.session import Session
from host.tls.tables import load_set
from host.worker.handshakes import Computed, Handshake, ThreadedSteps, compute
from support.certificates import Authority, table
from support.fakes import FakeLoop

NOT_DONE = Computed(False, "")


class LoopOfSteps(FakeLoop):
    """A loop that can be waited for until a thread has something called."""

    def __init__(self):
        super().__init__()
        self.from_threads = queue.SimpleQueue()

    def call_from_thread(self, function):
        self.from_threads.put(function)

    def run_one(self):
        self.from_threads.get(timeout=30)()


@pytest.fixture(scope="module")
def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("a.example").configure_cert(made)
    return made


@pytest.fixture
def begun(context):
    """Make sessions whose client has sent nothing yet."""
    return lambda: Session(context)


@pytest.mark.parametrize("asked", ["b.example", None])
def test_who_asks_for_no_name_that_there_is_is_told_of_as_that(tmp_path, asked):
    refusing = table(Authority(tmp_path).files("a", "a.example"), unknown_name="refuse")
    client = ssl.create_default_context()
    client.check_hostname = False
    hello = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        client.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=asked).do_handshake()
    session = Session(ServerContext("public", refusing, *load_set(refusing)).front)
    session.feed(hello.read())
    told = compute(session)
    assert told == Computed(
        False, "it asks for no host name that a certificate has (unknown_name is refuse)"
    )


def test_a_step_that_is_alone_in_its_turn_needs_no_thread(begun):
    loop, told = LoopOfSteps(), []
    steps = ThreadedSteps(loop)
    for _ in range(3):
        assert steps(begun(), told.append) == NOT_DONE
        loop.now += 0.001
    assert loop.from_threads.empty()
    assert told == []


def test_other_steps_of_a_turn_are_computed_by_the_thread(begun):
    loop, told = LoopOfSteps(), []
    steps = ThreadedSteps(loop)
    assert steps(begun(), told.append) == NOT_DONE
    assert steps(begun(), told.append) is None
    assert told == []
    loop.run_one()
    assert told == [NOT_DONE]


def test_what_follows_a_burst_is_the_thread_s_until_it_has_rested(begun):
    loop, told = LoopOfSteps(), []
    steps = ThreadedSteps(loop)
    steps(begun(), told.append)
    steps(begun(), told.append)
    loop.now += 10.0
    assert steps(begun(), told.append) is None  # nobody has heard of the one before
    loop.run_one()
    loop.run_one()
    loop.now += 0.001
    assert steps(begun(), told.append) is None
    loop.run_one()
    loop.now += 10.0
    assert steps(begun(), told.append) == NOT_DONE


def test_steps_that_take_long_are_the_thread_s(begun):
    loop, told = LoopOfSteps(), []
    steps = ThreadedSteps(loop, budget=0.0)
    assert steps(begun(), told.append) == NOT_DONE
    loop.now += 10.0
    assert steps(begun(), told.append) is None
    loop.run_one()


class Told:
    """Has a handshake, and is told how it has gone: a circle, as long as that goes on."""

    def __init__(self, fd, session, loop):
        self.causes = []
        self.handshake = Handshake(
            fd, lambda: session, loop, lambda *_: NOT_DONE, frozenset(), self.tell, self.may_begin
        )

    def may_begin(self):
        return True

    def tell(self, cause):
        self.causes.append(cause)


@pytest.mark.parametrize("ends", ["by what its client sends", "by who has begun it"])
def test_a_handshake_that_is_over_leaves_the_collector_nothing(begun, ends):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        told = Told(ours.fileno(), begun(), FakeLoop())
        gc.disable()
        try:
            told.handshake.begin(b"GET / HTTP/1.1\r\n" if ends.startswith("by what") else b"\x16")
            if not told.causes:
                told.handshake.end()
            left = weakref.ref(told)
            del told
            assert left() is None
        finally:
            gc.enable()

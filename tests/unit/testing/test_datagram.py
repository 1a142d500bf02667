"""Datagrams in memory: as the host hands them over, with replies that the test sees."""

import pytest

from host.plugins.echo import Echo
from host.testing import FakeDatagram, Harness

COUNTER = """
from host import hookimpl


class Counter:
    def __init__(self):
        self.seen = {}

    @hookimpl
    def on_datagram(self, datagram):
        if datagram.data == b"fail":
            raise RuntimeError("asked to")
        if datagram.data == b"later":
            datagram.worker.call_later(5, lambda: datagram.reply(b"now"))
            return
        if datagram.data == b"trust":
            datagram.trust()
        count = self.seen[datagram.peer] = self.seen.get(datagram.peer, 0) + 1
        datagram.reply(b"%d %s" % (count, datagram.listener.address.encode()))
"""


@pytest.fixture
def counter(tmp_path):
    (tmp_path / "counter.py").write_text(COUNTER)
    return str(tmp_path / "counter.py")


def test_a_function_is_called_by_hand():
    datagram = FakeDatagram(b"hello", address=("::1", 7))
    Echo().on_datagram(datagram)
    assert datagram.replies == [b"hello"]
    assert (datagram.peer, datagram.listener.address) == ("[::1]:7", "udp://127.0.0.1:7000")
    assert datagram.worker.slot == 0
    assert repr(datagram) == "<datagram of 5 bytes from [::1]:7>"


@pytest.mark.parametrize(("factor", "replies"), [(3.0, 0), (0.0, 1)])
def test_the_limit_of_replies_holds_in_tests_too(factor, replies):
    datagram = FakeDatagram(b"x", reply_factor=factor)
    assert datagram.reply(b"long") is bool(replies)
    assert len(datagram.replies) == replies


def test_a_harness_calls_the_plugin_that_answers_datagrams(counter):
    with Harness("line", counter, "echo", workers=2) as harness:
        assert harness.datagram(bytes(30)) == [b"1 udp://127.0.0.1:7001"]
        assert harness.datagram(bytes(30)) == [b"2 udp://127.0.0.1:7001"]
        assert harness.datagram(bytes(30), worker=1) == [b"1 udp://127.0.0.1:7001"]
        other = harness.datagram(bytes(30), address=("192.0.2.1", 7))
        assert other == [b"1 udp://127.0.0.1:7001"]
        assert harness.datagram(b"hello", protocol="echo") == [b"hello"]
        assert harness.connect().peer  # the first one that serves connections


def test_what_is_trusted_stays_trusted(counter):
    with Harness(counter) as harness:
        assert harness.datagram(b"x") == []
        assert harness.datagram(b"trust") != []
        assert harness.datagram(b"x") != []


def test_later_replies_are_added(counter):
    with Harness(counter) as harness:
        replies = harness.datagram(b"later")
        assert replies == []
        harness.advance(5)
        assert replies == [b"now"]


def test_what_the_plugin_raises_is_raised_again(counter):
    with Harness(counter) as harness, pytest.raises(RuntimeError, match="asked to"):
        harness.datagram(b"fail")


def test_a_plugin_without_the_hook_answers_nothing(counter):
    with Harness("line") as harness, pytest.raises(Exception, match="cannot serve a UDP listener"):
        harness.datagram(b"x", protocol="line")

"""TLS that begins in the middle of a fake connection, as tests of plugins see it."""

import pytest

from host.interfaces import CloseReason, TlsInfo
from host.testing import FakeConnection, Harness
from support.hosting import SUPPORT

MAIL = str(SUPPORT / "mail.py")


@pytest.fixture
def asked():
    """A connection whose client has asked for TLS."""
    with Harness(MAIL) as harness:
        connection = harness.connect()
        connection.feed(b"STARTTLS\r\n")
        assert connection.take().endswith(b"220 go ahead\r\n")
        yield connection


def test_the_plugin_goes_on_with_what_was_agreed_on(asked):
    assert asked.awaits_tls == "mail"
    assert asked.origin.tls is None
    asked.shake_hands(TlsInfo("TLSv1.2", "A", None, None, False, None))
    assert asked.awaits_tls is None
    asked.feed(b"NOOP\r\n")
    assert asked.take() == b"250 TLSv1.2\r\n"
    with pytest.raises(RuntimeError, match="has TLS already"):
        asked.start_tls("mail")


def test_what_is_written_meanwhile_waits(asked):
    asked.write(b"later")
    assert (asked.sent, asked.unsent) == (b"", 5)
    asked.shake_hands()
    assert asked.take() == b"later"


@pytest.mark.parametrize("together", [True, False])
def test_plain_text_behind_the_request_ends_it(together):
    with Harness(MAIL) as harness:
        connection = harness.connect()
        request = b"STARTTLS\r\n"
        for data in [request + b"NOOP\r\n"] if together else [request, b"NOOP\r\n"]:
            connection.feed(data)
        assert connection.reason is CloseReason.TLS_FAILED
        assert connection.take().endswith(b"220 go ahead\r\n")


def test_a_handshake_that_has_begun_early_is_no_plain_text():
    with Harness(MAIL) as harness:
        connection = harness.connect()
        connection.feed(b"STARTTLS\r\n\x16\x03\x01")
        connection.shake_hands()
        assert connection.origin.tls.version == "TLSv1.3"


@pytest.mark.parametrize("goes", [FakeConnection.feed_eof, FakeConnection.reset])
def test_a_peer_that_goes_meanwhile_has_ended_without_a_word(asked, goes):
    goes(asked)
    assert asked.reason is CloseReason.TRUNCATED


def test_it_can_be_closed_meanwhile(asked):
    asked.close()
    assert (asked.reason, asked.awaits_tls) == (CloseReason.PLUGIN, None)


def test_a_handshake_that_nobody_has_asked_for_cannot_be_done():
    with pytest.raises(ValueError, match="has not called start_tls"):
        FakeConnection().shake_hands()


@pytest.mark.parametrize("half_open", [True, False])
def test_whose_peer_has_finished_sending_gets_no_tls_and_nothing_in_plain_text(half_open):
    connection = FakeConnection(b"STARTTLS")
    connection.allow_half_open = half_open
    connection.read()
    connection.feed_eof()
    connection.read()
    connection.write(b"go")
    connection.start_tls("mail")
    connection.write(b"secret")
    assert connection.take() == b"go"
    assert connection.reason is CloseReason.PEER_FINISHED


def test_a_connection_that_has_ended_ignores_it():
    connection = FakeConnection()
    connection.close()
    connection.start_tls("mail")
    assert connection.awaits_tls is None

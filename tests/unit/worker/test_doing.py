"""What a plugin says that it does for a connection."""

import pytest

from host.testing import FakeConnection


def test_nothing_is_done_unless_the_plugin_says_so():
    connection = FakeConnection()
    assert (connection.doing, connection.doing_since) == ("", 0.0)
    assert not hasattr(connection, "_doing")


def test_it_is_kept_with_its_time_and_bounded():
    connection = FakeConnection()
    connection.doing = "x" * 1000
    assert connection.doing == "x" * 100
    assert connection.doing_since == connection._context.loop.now


@pytest.mark.parametrize("text", ["\udcff\0\n", "é" * 200, ""])
def test_any_text_will_do(text):
    connection = FakeConnection()
    noted = []
    connection._context.note_doing = lambda *what: noted.append(what)
    connection.doing = text
    assert connection.doing == text[:100]
    assert noted == [(1, text[:100].encode("utf-8", "backslashreplace"))]


def test_what_is_no_text_is_refused():
    with pytest.raises(AttributeError):
        FakeConnection().doing = b"GET /"

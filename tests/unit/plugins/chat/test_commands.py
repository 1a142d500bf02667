"""What a command answers that cannot be done; help; texts that are no commands."""

import pytest

from support.parley import Parley


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("/nick a b", "a nick has letters, digits"),
        ("/nick -a", "a nick has letters, digits"),
        ("/nick " + "a" * 21, "a nick has 20 characters at most"),
        ("/nick \u3164", "a nick has letters, digits"),
        ("/nick a\ufe0f", "a nick has letters, digits"),
        ("/join lobby", "a room's name begins with #, as in #lobby"),
        ("/join #", "a room's name has letters, digits"),
        ("/join #a b", "a room's name has letters, digits"),
        ("/join #" + "a" * 33, "a room's name has 32 characters at most"),
        ("/join", "which room?"),
        ("/leave", "you are in no room"),
        ("/leave #a", "you are not in #a"),
        ("/me", "what do you do?"),
        ("/who", "you are in no room"),
        ("/jion #a", "there is no /jion: did you mean /join?"),
        ("/xyzzy", "there is no /xyzzy: try /help"),
        ("/", "there is no /: try /help"),
        ("hello", "you are in no room: /join #lobby"),
    ],
)
def test_what_cannot_be_done_is_answered_with_the_reason(line, answer):
    client = Parley(1).client(0)
    client.take()
    client.send(line)
    (said,) = client.lines
    assert said.startswith(f"!! {answer}")


def test_empty_lines_and_help():
    client = Parley(1).client(0)
    client.take()
    client.send("", "  ", "\t")
    assert client.take() == []
    client.send("/help")
    assert {line.split()[1] for line in client.lines} >= {"/nick", "/join", "/leave", "/quit"}
    client.send("/nick")
    assert client.lines[-1].startswith(f"-- you are {client.user.nick}")


def test_a_text_that_begins_with_a_slash():
    client = Parley(1).client(0, "/join #a", "//etc/motd")
    assert client.lines[-1].endswith(": /etc/motd")

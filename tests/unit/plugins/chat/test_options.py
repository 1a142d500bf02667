"""Past each limit users are told so; nothing that acts on a terminal gets through."""

import pytest

from host.plugins.chat.options import Options
from support.parley import Parley, trio


def test_a_room_takes_as_many_as_it_may_however_they_come():
    parley = Parley(3, max_room_members=5)
    clients = [parley.client(number % 3) for number in range(12)]
    for client in clients:
        client.send("/join #a")
    parley.settle(0)
    inside = [client for client in clients if client.user.rooms]
    assert len(inside) == 5
    for client in clients:
        if client not in inside:
            assert client.lines[-1] == "!! #a is full: 5 are in it"
    inside[0].leave()
    parley.settle(0)
    outside = next(client for client in clients if client not in inside)
    outside.send("/join #a")
    parley.settle(0)
    assert outside.user.rooms == ["#a"]


def test_one_user_is_in_as_many_rooms_as_allowed():
    client = Parley(1, max_rooms_per_user=2).client(0, "/join #a", "/join #b", "/join #c")
    assert client.lines[-1].startswith("!! you are in 2 rooms, and more are not allowed")
    assert client.user.rooms == ["#a", "#b"]
    client.send("/join #A")
    assert client.lines[-1] == "-- you talk in #a now"


def test_who_sends_too_fast_is_told_so_once_a_second_and_is_heard_again_later():
    parley = Parley(1, messages_per_second=2, burst=3)
    client = parley.client(0, "/join #a", *map(str, range(10)))
    said = [line for line in client.take() if line[0] in "[!"]
    assert said == [
        "!! too fast: 2 lines a second; what comes faster is not sent",
        f"[#a] {client.user.nick}: 0",
        f"[#a] {client.user.nick}: 1",
    ]
    parley.settle(1.05)
    client.send("later", "and", "too fast again")
    parley.settle(0)
    assert [line.rpartition(" ")[2] for line in client.take() if line[0] == "["] == ["later", "and"]


def test_a_line_that_is_too_long_is_refused_and_the_next_one_taken():
    parley = Parley(1, max_line_bytes=64)
    client = parley.client(0, "/join #a")
    client.take()
    client.send("x" * 64, "y" * 65, "z")
    parley.settle(0)
    nick = client.user.nick
    assert sorted(client.lines) == [
        "!! a line has 64 bytes at most: that was not sent",
        f"[#a] {nick}: {'x' * 64}",
        f"[#a] {nick}: z",
    ]


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


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"a\x1b[31mred\x1b[0m", "ared"),
        (b"a\x1b]0;title\x07x", "a ]0;title x"),
        (b"a\x00b\x07c\x7fd", "a b c d"),
        ("a\x9b2Jb\x85c".encode(), "ab c"),
        ("a\u202eb\u2066c\u2028d".encode(), "a b c d"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\xfe\xc0\x80x", "\ufffd\ufffd\ufffdx"),
        (b"a\rb", "a b"),
        ("ünïcode ✓ 👍🏽".encode(), "ünïcode ✓ 👍🏽"),
    ],
)
def test_nothing_that_a_terminal_acts_on_reaches_others(sent, shown):
    parley, ada, bob, _ = trio()
    ada.feed(sent + b"\n")
    ada.feed(b"/me " + sent + b"\n")
    ada.feed(b"/msg bob " + sent + b"\n")
    ada.feed(b"/quit " + sent + b"\n")
    parley.settle(0)
    assert sorted(bob.lines) == sorted(
        [
            f"[#lobby] ada: {shown}",
            f"[#lobby] * ada {shown.strip()}",
            f"[from ada] {shown.strip()}",
            f"-- ada has quit ({shown.strip()})",
        ]
    )


def test_telnet_commands_are_taken_out_and_refused():
    parley, ada, bob, _ = trio()
    for byte in b"\xff\xfd\x01\xff\xfb\x18hel\xff\xfa\x18\x00xterm\xff\xf0lo\r\0":
        ada.feed(bytes([byte]))
    parley.settle(0)
    assert ada.received == b"\xff\xfc\x01\xff\xfe\x18[#lobby] ada: hello\r\n"
    assert bob.lines == ["[#lobby] ada: hello"]


def test_the_options_have_limits():
    with pytest.raises(ValueError, match="extra"):
        Options(histroy=3)

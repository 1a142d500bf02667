"""The chat while the bus does not answer, and after a host was cut off from the others for long."""

import pytest

from host.testing import Harness
from support.parley import Parley, trio

CUT_OFF = "!! no word from the other servers: what you say is passed on as soon as they answer"
BACK = "-- the other servers answer again"


@pytest.mark.parametrize("line", ["/join #new", "/nick x", "/leave"])
def test_who_waits_for_a_step_is_told_and_goes_on(line):
    parley, ada, bob, _ = trio()
    parley.cut_off(0)
    ada.send(line, "/join #lobby", "/who", "hello")
    parley.settle(1.4)
    assert ada.lines == []
    parley.settle(2.0)
    assert ada.take() == [CUT_OFF, "-- you talk in #lobby now", "-- #lobby: ada, bob, carl"]
    parley.settle(60.0)
    assert (ada.lines, ada.closed) == ([], False)
    parley.connect(0)
    parley.settle()
    assert BACK in ada.lines
    assert "[#lobby] ada: hello" in bob.lines
    assert ("-- ada has left #lobby" in bob.lines) == (line == "/leave")
    assert parley.rosters()[0] == parley.rosters()[1]


def test_what_cannot_be_done_while_the_bus_is_silent_is_refused_at_once():
    parley, ada, bob, carl = trio()
    parley.cut_off(0)
    ada.send("is anybody there?")
    parley.settle(4.0)
    assert (ada.take(), carl.take(), bob.take()) == ([CUT_OFF], [CUT_OFF], [])
    ada.send("/nick x", "/nick ADA", "/join #new", "/who", "/rooms", "/leave")
    assert ada.take() == [
        "!! no word from the other servers: try another nick later",
        "!! no word from the other servers: try another nick later",
        "!! no word from the other servers: enter #new later",
        *("-- #lobby: ada, bob, carl", "-- rooms: #lobby (3)"),
        "!! no word from the other servers: you leave #lobby as soon as they answer",
    ]
    parley.connect(0)
    parley.settle(0)
    assert sorted(ada.take()) == sorted(
        ["[#lobby] ada: is anybody there?", BACK, "-- ada has left #lobby"]
    )
    assert bob.take() == ["[#lobby] ada: is anybody there?", "-- ada has left #lobby"]


def test_who_arrives_while_the_bus_is_silent_is_told_so_and_closed_in_the_end():
    parley, ada, *_ = trio()
    parley.cut_off(0)
    ada.send("hello")
    parley.settle(4.0)
    late = parley.client(0)
    assert late.lines[-1] == "!! no word from the other servers: wait"
    parley.settle(11.0)
    assert late.lines[-1].startswith("!! no word of your nick: ")
    assert late.closed
    assert not ada.closed


def test_who_enters_a_room_when_the_bus_is_back_is_in_it():
    parley, ada, bob, _ = trio()
    parley.cut_off(0)
    ada.send("/join #new")
    parley.settle(4.0)
    ada.send("/join #other")
    parley.connect(0)
    parley.settle()
    assert "!! no word from the other servers: enter #other later" in ada.lines
    assert ada.lines[-1] == "-- ada has joined #new (1 here)"
    ada.send("/leave", "/join #other")
    parley.settle()
    assert ada.lines[-1] == "-- ada has joined #other (1 here)"
    assert parley.rosters()[0] == parley.rosters()[1]
    bob.send("/rooms")
    assert bob.lines[-1] == "-- rooms: #lobby (3), #other (1)"


def test_a_host_that_was_taken_for_dead_is_counted_again():
    parley, ada, bob, carl = trio()
    parley.cut_off(0)
    parley.tell_left(0)
    parley.settle()
    assert sorted(bob.take()) == [
        "-- ada has quit (connection lost)",
        "-- carl has quit (connection lost)",
    ]
    bob.send("/who")
    assert bob.take() == ["-- #lobby: bob"]
    parley.connect(0)
    parley.settle()
    assert (ada.lines, carl.lines) == ([], [])
    assert bob.take() == [f"-- {nick} has joined #lobby (3 here)" for nick in ("ada", "carl")]
    assert parley.rosters()[0] == parley.rosters()[1]
    for client in (ada, carl):
        client.send(f"I am {client.user.nick}")
        parley.settle(0)
    said = ["[#lobby] ada: I am ada", "[#lobby] carl: I am carl"]
    assert ada.lines == bob.lines == carl.lines == said


def test_a_user_whose_nick_another_host_owns_by_now_is_a_guest_and_all_are_told():
    parley, ada, bob, carl = trio()
    parley.cut_off(0)
    parley.tell_left(0)
    parley.settle(0)
    bob.send("/nick Ada")
    parley.settle(0)
    bob.take()
    parley.connect(0)
    parley.settle()
    guest = ada.user.nick
    assert guest.startswith("guest")
    told = ["!! ada belongs to somebody else by now", f"-- ada is now {guest}"]
    assert [line for line in ada.lines if line in told] == told
    assert f"-- ada is now {guest}" in carl.lines
    assert f"-- {guest} has joined #lobby (3 here)" in bob.lines
    assert carl.user.nick == "carl"
    carl.take()
    carl.send("/msg ada hello")
    ada.send("/nick ada", "/who")
    parley.settle(0)
    assert "[to Ada] hello" in carl.lines
    assert "[from carl] hello" in bob.lines
    assert "!! ada is taken: try another nick" in ada.lines
    bob.send("/quit")
    parley.settle(0)
    ada.send("/nick ada")
    parley.settle(0)
    assert ada.lines[-1] == f"-- {guest} is now ada"


def test_who_is_about_to_get_another_nick_gets_that_one_though_its_own_is_taken():
    parley, ada, bob, _ = trio()
    parley.cut_off(0)
    parley.tell_left(0)
    parley.settle(0)
    bob.send("/nick ada")
    parley.settle(0)
    ada.send("/nick eve")
    parley.connect(0)
    parley.settle()
    assert ada.user.nick == "eve"
    assert not any("belongs to" in line for line in ada.lines)


def test_who_does_not_get_the_other_nick_either_is_a_guest():
    parley, ada, bob, _ = trio()
    dora = parley.client(1, "/nick dora", "/join #lobby")
    parley.cut_off(0)
    parley.tell_left(0)
    parley.settle(0)
    bob.send("/nick ada")
    parley.settle(0)
    ada.send("/nick dora")
    parley.connect(0)
    parley.settle()
    assert "!! dora is taken: try another nick" in ada.lines
    assert "!! ada belongs to somebody else by now" in ada.lines
    assert ada.user.nick.startswith("guest")
    assert (bob.user.nick, dora.user.nick) == ("ada", "dora")


def test_lines_wait_until_a_user_has_a_nick_again():
    with Harness("chat", workers=2) as chat:
        ada, bob = chat.connect(0), chat.connect(1)
        for client, nick in ((ada, "ada"), (bob, "bob")):
            client.feed(f"/nick {nick}\n/join #lobby\n".encode())
        chat.advance(1)
        bob.take()
        chat.bus.away = True
        chat.bus.take_key("chat.nick.ada")
        chat.run()
        ada.feed(b"hello\n")
        chat.bus.away = False
        chat.run()
        renamed, said = bob.take().decode().splitlines()
        nick = renamed.removeprefix("-- ada is now ")
        assert nick.startswith("guest")
        assert said == f"[#lobby] {nick}: hello"


def test_a_nick_that_nobody_can_tell_of_in_time_is_not_called_taken():
    with Harness("chat") as chat:
        ada = chat.connect()
        chat.advance(1)
        ada.take()
        chat.bus.away = True
        ada.feed(b"/nick x\n")
        chat.advance(2.1)
        assert b"!! x cannot be had now: try again, or another nick\r\n" in ada.take()
        chat.advance(60)
        assert ada.reason is None
        chat.bus.away = False
        chat.run()
        ada.feed(b"/nick x\n")
        chat.run()
        assert ada.take().decode().splitlines()[-1].endswith(" is now x")


def test_word_of_a_worker_that_has_left_and_lives_on_changes_nothing_for_its_own_users():
    with Harness("chat", workers=2) as chat:
        ada, bob = chat.connect(0), chat.connect(1)
        for client, nick in ((ada, "ada"), (bob, "bob")):
            client.feed(f"/nick {nick}\n/join #lobby\n".encode())
        chat.advance(1)
        for client in (ada, bob):
            client.take()
        chat.bus.declare_left(chat.workers[0].pid)
        chat.advance(6)
        assert ada.take() == b""
        assert bob.take().decode().splitlines() == [
            "-- ada has quit (connection lost)",
            "-- ada has joined #lobby (2 here)",
        ]


def test_no_host_that_comes_back_loses_users_that_came_meanwhile():
    parley = Parley(2)
    parley.cut_off(0)
    parley.tell_left(0)
    bob = parley.client(1, "/nick bob", "/join #lobby")
    parley.connect(0)
    parley.settle()
    ada = parley.client(0, "/nick ada", "/join #lobby", "/who")
    assert ada.lines[-1] == "-- #lobby: bob, ada"
    assert bob.lines[-1] == "-- ada has joined #lobby (2 here)"

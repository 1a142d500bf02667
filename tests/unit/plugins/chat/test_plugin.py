"""The chat as its users see it, with workers, bus and connections in memory."""

import pytest

from host.testing import Harness
from support.parley import Parley, trio


def test_a_welcome_and_a_guest_nick():
    client = Parley().client(0)
    welcome, how, named = client.lines
    assert welcome == "-- Welcome."
    assert "/join" in how
    assert named.startswith("-- you are guest")


def test_everyone_in_the_room_sees_who_says_what_in_the_same_order():
    parley, ada, bob, carl = trio()
    for client, text in ((ada, "one"), (bob, "two"), (carl, "/me three")):
        client.send(text)
    parley.settle(0)
    assert sorted(ada.lines) == [
        "[#lobby] * carl three",
        "[#lobby] ada: one",
        "[#lobby] bob: two",
    ]
    assert ada.lines == bob.lines == carl.lines


def test_without_echo_the_sender_alone_does_not_see_it():
    parley, ada, bob, carl = trio(echo=False)
    ada.send("hello")
    parley.settle(0)
    assert (ada.lines, bob.lines, carl.lines) == ([], *[["[#lobby] ada: hello"]] * 2)


def test_joins_leaves_names_and_ends_are_announced():
    parley, ada, bob, carl = trio()
    dora = parley.client(1, "/nick dora", "/join #LOBBY")
    assert ada.take() == bob.take() == ["-- dora has joined #lobby (4 here)"]
    dora.send("/nick Dora")
    parley.settle(0)
    assert ada.take() == bob.take() == ["-- dora is now Dora"]
    dora.send("/leave")
    parley.settle(0)
    assert ada.take() == bob.take() == ["-- Dora has left #lobby"]
    assert dora.take()[-1] == "-- Dora has left #lobby"
    carl.send("/quit see you")
    parley.settle(0)
    assert ada.take() == bob.take() == ["-- carl has quit (see you)"]
    assert carl.closed
    bob.leave()
    parley.settle(0)
    assert ada.take() == ["-- bob has quit (connection closed)"]


def test_one_line_for_those_who_share_several_rooms():
    parley, ada, bob, _ = trio()
    for client in (ada, bob):
        client.send("/join #two")
        parley.settle(0)
    ada.take()
    bob.send("/nick rob")
    parley.settle(0)
    assert ada.take() == ["-- bob is now rob"]
    bob.leave()
    parley.settle(0)
    assert ada.take() == ["-- rob has quit (connection closed)"]


@pytest.mark.parametrize("wanted", ["ADA", "ada", "Ada", "\uff41\uff44\uff41"])
def test_a_nick_is_taken_in_any_case(wanted):
    parley, ada, bob, carl = trio()
    for client in (bob, carl):
        client.send(f"/nick {wanted}")
        parley.settle(0)
        assert client.take() == [f"!! {wanted} is taken: try another nick"]
    ada.send("/nick ada2")
    parley.settle(0)
    for client in (ada, bob, carl):
        client.take()
    bob.send(f"/nick {wanted}")
    parley.settle(0)
    assert bob.take() == [f"-- bob is now {wanted}"]


def test_who_writes_its_nick_in_another_script_still_has_it_alone():
    parley, ada, bob, _ = trio()
    cyrillic = "\u0441\u0430\u0440\u0430"
    for nick in ("capa", cyrillic):
        ada.send(f"/nick {nick}")
        parley.settle(0)
        assert ada.lines[-1].endswith(f"is now {nick}")
        bob.send("/nick CAPA")
        parley.settle(0)
        assert bob.lines[-1] == "!! CAPA is taken: try another nick"
    ada.leave()
    parley.settle(0)
    bob.send("/nick CAPA")
    parley.settle(0)
    assert bob.lines[-1] == "-- bob is now CAPA"


def test_a_nick_is_free_again_when_its_owner_has_gone():
    parley, ada, bob, _ = trio()
    ada.leave()
    parley.settle(0)
    bob.send("/nick ADA")
    parley.settle(0)
    assert bob.lines[-1] == "-- bob is now ADA"


def test_what_is_sent_at_once_is_done_in_order():
    parley = Parley(2)
    client = parley.client(
        0, "/nick ada", "/join #a", "one", "/who", "/join #b", "two", "/leave", "three", "/rooms"
    )
    said = [line for line in client.lines if line[0] in "[!"]
    assert said == ["[#a] ada: one", "[#b] ada: two", "[#a] ada: three"]
    assert "-- #a: ada" in client.lines
    assert "-- rooms: #a (1)" in client.lines


def test_a_private_message_reaches_one_person_only():
    parley, ada, bob, carl = trio()
    ada.send("/msg BOB psst")
    parley.settle(0)
    assert ada.take() == ["[to bob] psst"]
    assert bob.take() == ["[from ada] psst"]
    assert carl.take() == []
    ada.send("/msg nobody psst", "/msg bob")
    parley.settle(0)
    assert ada.take() == ["!! nobody is called nobody", "!! say what to whom: /msg NICK TEXT"]


def test_a_private_message_to_someone_who_has_just_gone_comes_back_as_word_of_that():
    parley, ada, bob, _ = trio()
    ada.send("/msg bob psst")
    bob.leave()
    parley.settle(0)
    assert "!! that did not arrive: its reader has just gone" in ada.lines


def test_who_and_rooms_tell_the_same_on_each_worker():
    parley, ada, bob, _ = trio(max_listed=2)
    for client in (ada, bob):
        client.send("/who", "/rooms", "/who #none", "/who nonsense")
        parley.settle(0)
        assert client.take() == [
            "-- #lobby: ada, bob and 1 more",
            "-- rooms: #lobby (3)",
            "-- #none is empty",
            "!! a room's name begins with #, as in #nonsense",
        ]


def test_those_who_join_are_shown_the_last_messages_on_any_worker():
    parley, ada, *_ = trio(history=3)
    ada.send("one", "two", "/me three", "four")
    parley.settle(0)
    shown = ["[#lobby] ada: two", "[#lobby] * ada three", "[#lobby] ada: four"]
    for number in (0, 1):
        late = parley.client(number, "/join #lobby")
        at = late.lines.index(shown[0])
        assert late.lines[at : at + 3] == shown
        assert "has joined #lobby" in late.lines[at + 3]
    place = parley.begin()
    parley.settle()
    late = parley.client(list(parley.places.values()).index(place), "/join #lobby")
    assert [line for line in late.lines if line.startswith("[")] == shown


def test_history_outlives_the_last_member():
    parley = Parley(2)
    ada = parley.client(0, "/nick ada", "/join #a", "hello", "/leave")
    assert "-- ada has left #a" in ada.lines
    bob = parley.client(1, "/join #a")
    assert "[#a] ada: hello" in bob.lines


def test_without_history_nothing_is_kept():
    parley, ada, *_ = trio(history=0)
    ada.send("hello")
    parley.settle(0)
    late = parley.client(1, "/join #lobby")
    assert not [line for line in late.lines if line.startswith("[")]
    assert not parley.net.rings


def test_a_worker_hears_a_room_only_as_long_as_its_users_are_in_it():
    parley = Parley(2)
    ada = parley.client(0, "/join #a")
    topics = [place.bus.callbacks.keys() for place in parley.places.values()]
    assert "chat.room.#a" in topics[0]
    assert "chat.room.#a" not in topics[1]
    ada.send("/leave")
    parley.settle(0)
    assert "chat.room.#a" not in topics[0]


def test_a_slow_reader_is_closed_and_the_others_are_told_why():
    parley, ada, bob, carl = trio(max_unsent_bytes=4096, messages_per_second=1e6)
    carl.unsent = 5000
    for _ in range(40):
        ada.send("x" * 100)
        parley.settle(0)
    assert carl.closed
    assert "-- carl has quit (does not read)" in bob.lines
    assert carl.lines[-1] == "!! you do not read what you are sent: goodbye"
    assert not ada.closed


def test_one_who_does_not_read_the_answers_is_not_answered_further():
    parley, ada, *_ = trio()
    ada.congested = True
    ada._arrived = b"/help\n/help\n"
    parley[0].chat.on_readable(ada)
    assert ada.take() == []
    ada.congested = False
    ada.when_writable(ada)
    assert len(ada.take()) > 10


def test_users_of_a_dead_worker_leave_and_their_nicks_are_free():
    parley, _, bob, _ = trio()
    parley.kill(0)
    parley.settle(0)
    assert bob.take() == ["-- ada has quit (connection lost)", "-- carl has quit (connection lost)"]
    bob.send("/who", "/msg ada hello", "/nick ADA")
    parley.settle(0)
    assert bob.lines == ["-- #lobby: bob", "!! nobody is called ada", "-- bob is now ADA"]


def test_a_late_worker_knows_who_is_there():
    parley, *_ = trio()
    parley.begin()
    parley.settle()
    late = parley.client(2, "/who #lobby", "/rooms", "/nick BOB")
    assert "-- #lobby: ada, carl, bob" in late.lines or "-- #lobby: bob, ada, carl" in late.lines
    assert "-- rooms: #lobby (3)" in late.lines
    assert late.lines[-1] == "!! BOB is taken: try another nick"


def test_on_a_drain_goodbye_is_the_last_line():
    parley, ada, bob, carl = trio(goodbye="Off we go.")
    for client in (ada, carl):
        parley[0].chat.on_drain(client)
        assert client.lines[-1] == "-- Off we go."
        assert client.closed
        client.leave()
    parley.settle(0)
    assert bob.lines == [f"-- {nick} has quit (server going down)" for nick in ("ada", "carl")]


def test_what_the_bus_does_not_take_is_told_and_the_rosters_agree_in_the_end():
    parley, ada, bob, _ = trio()
    parley.net.full = True
    ada.send("hello", "/msg bob hello", "/nick other", "/join #new", "/leave")
    parley.settle(0)
    assert "!! the server is overloaded: that was not sent" in ada.lines
    assert "!! the server is overloaded: try again" in ada.lines
    parley.net.full = False
    parley.settle()
    ada.send("/who #lobby")
    parley.settle(0)
    assert "-- ada has left #lobby" in bob.lines
    assert ada.lines[-1] == "-- #lobby: carl, bob" or ada.lines[-1] == "-- #lobby: bob, carl"
    one, other = parley.rosters()
    assert one == other


def test_lost_messages_are_told_and_what_was_missed_is_fetched():
    parley, ada, bob, _ = trio()
    ada.send("missed", "/nick eve")
    while parley.net.step(0) and not parley.net.log.get("chat.room.#lobby"):
        pass
    parley.lose(1)
    parley.settle()
    assert "!! some messages were lost" in bob.lines
    late = parley.client(1, "/join #lobby")
    assert "[#lobby] ada: missed" in late.lines
    one, other = parley.rosters()
    assert one == other


def test_who_asks_for_a_room_while_a_worker_has_not_all_lists_is_refused():
    parley = Parley(2, ordered=True, max_room_members=1)
    ada, bob = parley.client(0), parley.client(1)
    to_bob = ("down", bob.worker.bus.member)
    ada.send("/join #a")
    while not any("joined #a" in line for line in ada.lines):
        paths = [path for path, queue in parley.net.queues.items() if queue and path != to_bob]
        parley.net.queues[paths[0]].popleft()[1]()
    parley.lose(1)
    bob.send("/join #a")
    parley.net.run()  # no time passes: the others have not been asked for their lists
    assert bob.lines[-1] == "!! the server is overloaded: try again"
    parley.settle()
    bob.send("/join #a")
    parley.settle()
    assert bob.lines[-1] == "!! #a is full: 1 are in it"


def test_what_is_on_the_way_while_a_worker_listens_anew_is_seen_once():
    parley, ada, bob, _ = trio()
    ada.send("before")
    parley.settle(0)
    bob.take()
    parley.lose(1)
    ada.send("on the way")
    while len(parley.net.log["chat.room.#lobby"]) < 2:
        parley.net.step(0)
    parley[1].advance(0.2)
    parley.settle()
    ada.send("after")
    parley.settle(0)
    said = [line for line in bob.lines if line[0] == "["]
    assert said == ["[#lobby] ada: on the way", "[#lobby] ada: after"]


def test_a_worker_that_died_unheard_is_noticed_after_a_loss():
    parley, _, bob, _ = trio()
    member = parley[0].bus.member
    del parley.places[member], parley.net.ends[member]
    parley.lose(0)
    parley.settle(4.0)
    assert "-- ada has quit (connection lost)" not in bob.lines
    parley.settle(2.0)
    assert "-- ada has quit (connection lost)" in bob.lines


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


def test_users_and_messages_are_counted():
    options = {"chat": {"burst": 10, "messages_per_second": 0.001, "max_line_bytes": 64}}
    with Harness("chat", workers=2, options=options) as chat:
        ada, bob = chat.connect(0), chat.connect(1)
        for client, nick in ((ada, "ada"), (bob, "bob")):
            client.feed(f"/nick {nick}\r\n/join #lobby\r\n".encode())
        chat.advance(1)
        ada.feed(b"one\r\n/me two\r\n/msg bob three\r\n")
        ada.feed(b"x" * 100 + b"\r\n")
        bob.feed(b"/who\r\n" * 12)
        found = chat.metrics()
        assert found["prefork_chat_users"] == 2
        assert found['prefork_chat_messages_total{to="room"}'] == 2
        assert found['prefork_chat_messages_total{to="user"}'] == 1
        assert found['prefork_chat_refused_total{cause="too_long"}'] == 1
        assert found['prefork_chat_refused_total{cause="too_fast"}'] == 4
        bob.feed_eof()
        chat.run()
        assert chat.metrics()["prefork_chat_users"] == 1

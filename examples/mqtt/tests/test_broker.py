"""What clients of several workers hear of each other, and what is kept for those that are away."""

import pytest
from prefork_mqtt.session import Message
from reading import (
    CONNACK,
    DISCONNECT,
    Client,
    acknowledge,
    connect_with_will,
    packet,
    publish,
    subscribe,
    text,
    unsubscribe,
)

from host.bus.frames import Frame, Kind
from host.testing import Harness

OPTIONS = {"sys_seconds": 0}


@pytest.fixture
def make():
    made = []

    def make(workers=2, *plugins, **options):
        made.append(Harness("mqtt", *plugins, options={"mqtt": OPTIONS | options}, workers=workers))
        made[-1].start()
        made[-1].run()
        return made[-1]

    yield make
    for each in made:
        assert each.failures == []
        each.stop()


def joined(harness, worker=0, client_id="", *filters, qos=0, clean=True):
    client = Client(harness, worker, client_id, clean=clean)
    assert client.hear()[0][:1] == b"\x20"
    for each in filters:
        client.say(subscribe(each, qos))
        assert b"\x90" in [each[:1] for each in client.hear()]
    return client


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_all_workers_hear_with_the_lower_qos(make, qos, granted):
    harness = make(3)
    hearers = [joined(harness, each, "", "a/+", qos=granted) for each in range(3)]
    speaker = joined(harness, 1)
    speaker.say(publish("a/b", b"x", qos, 7))
    speaker.say(publish("b", b"y"))
    answers = {0: [], 1: [b"\x40\0\x07"], 2: [b"\x50\0\x07"]}
    assert speaker.hear() == answers[qos]
    for hearer in hearers:
        (found,) = hearer.messages()
        assert found[:4] == ("a/b", b"x", min(qos, granted), False)


def test_qos_2_from_end_to_end(make):
    harness = make()
    hearer, speaker = joined(harness, 0, "", "a", qos=2), joined(harness, 1)
    for again in (0, 8):
        speaker.say(bytes((0x34 | again,)) + publish("a", b"x", 2, 9)[1:])
        assert speaker.hear() == [b"\x50\0\x09"]
    (found,) = hearer.messages()  # once
    number = found[4].to_bytes(2, "big")
    hearer.say(b"\x50\x02" + number)
    assert hearer.hear() == [b"\x62" + number]
    hearer.say(b"\x70\x02" + number)
    speaker.say(b"\x62\x02\0\x09")
    assert speaker.hear() == [b"\x70\0\x09"]
    speaker.say(publish("a", b"y", 2, 9))  # the number is free
    assert hearer.payloads() == [b"y"]


def test_a_client_hears_a_message_once_whatever_its_filters(make):
    harness = make(1)
    hearer = joined(harness, 0, "", "a/b", "a/#", "#", qos=1)
    joined(harness).say(publish("a/b", b"x"))
    assert hearer.payloads() == [b"x"]
    hearer.say(unsubscribe("#") + unsubscribe("a/b"))
    assert [each[:1] for each in hearer.hear()] == [b"\xb0", b"\xb0"]
    joined(harness).say(publish("a/b", b"y") + publish("b", b"z"))
    assert hearer.payloads() == [b"y"]
    hearer.say(unsubscribe("a/#"))
    hearer.hear()
    joined(harness).say(publish("a/b", b"w"))
    assert hearer.hear() == []


def test_retained_messages_come_to_each_new_subscription(make):
    harness = make()
    speaker = joined(harness, 0)
    for topic in ("a/1", "a/2", "b"):
        speaker.say(b"\x33" + publish(topic, topic.encode(), 1, 1)[1:])
    early = joined(harness, 1, "", "x")
    for _ in range(2):  # the same filter again counts as new [3.8.4]
        early.say(subscribe("a/+", 1))
        assert sorted(each[:4] for each in early.messages()) == [
            ("a/1", b"a/1", 1, True),
            ("a/2", b"a/2", 1, True),
        ]
    speaker.say(b"\x31" + publish("a/1", b"")[1:])  # clears it
    assert [each[:4] for each in early.messages()] == [("a/1", b"", 0, False)]
    late = Client(harness, 1)
    late.say(subscribe("#", 0))
    assert sorted(each[:4] for each in late.messages()) == [
        ("a/2", b"a/2", 0, True),
        ("b", b"b", 0, True),
    ]


def test_a_client_that_connects_again_takes_the_place_of_the_old_connection(make):
    harness = make()
    old = joined(harness, 0, "me", "a")
    new = joined(harness, 1, "me", "b")
    assert old.connection.closed
    same = joined(harness, 1, "me", "c")
    assert new.connection.closed
    joined(harness, 0).say(publish("c", b"x"))
    assert same.payloads() == [b"x"]


def test_a_client_that_another_host_has_got_by_now_is_closed(make):
    harness = make()
    mine, other = joined(harness, 0, "me", "a"), joined(harness, 1, "you", "a")
    harness.bus.take_key("mqtt.client.me")
    harness.run()
    assert mine.connection.closed
    assert not other.connection.closed


def test_who_does_not_give_up_a_client_makes_the_other_one_be_refused(make):
    harness = make()
    harness.workers[0].bus.claim("mqtt.client.me", lambda owned: None)
    harness.run()
    late = Client(harness, 1, "me")
    assert late.hear() == []
    harness.advance(30)
    assert late.hear() == [b"\x20\0\x03"]
    assert late.connection.closed


def test_a_session_that_persists_is_found_by_another_worker_with_all_it_has_missed(make):
    harness = make(3)
    first = joined(harness, 0, "me", "a/#", qos=1, clean=False)
    speaker = joined(harness, 2)
    speaker.say(publish("a/1", b"1", 1, 1))
    (seen,) = first.messages()  # and not confirmed
    first.say(DISCONNECT)
    for number in (2, 3, 4):
        speaker.say(publish(f"a/{number}", b"%d" % number, 1, number))
    speaker.say(publish("a/0", b"0") + publish("b", b"0", 1, 5))
    assert len(speaker.hear()) == 5  # 1 to 5 are confirmed
    again = Client(harness, 1, "me", clean=False)
    assert again.hear()[0] == b"\x20\x01\x00"  # there was a session
    third = Client(harness, 0, "me", clean=False)
    messages = third.messages()
    assert [each[1] for each in messages] == [b"1", b"2", b"3", b"4"]
    assert messages[0][4:] == (seen[4], True)  # with its old number
    for each in messages:
        third.say(acknowledge(each[4]))
    third.say(publish("a/5", b"5", 1, 1))
    assert third.payloads() == [b"5"]
    third.say(DISCONNECT)
    fourth = Client(harness, 1, "me", clean=False)
    assert fourth.payloads() == [b"5"]
    assert Client(harness, 1, "me").hear() == [CONNACK[:1] + b"\0\0"]  # clean: forgotten
    assert Client(harness, 1, "me", clean=False).hear() == [CONNACK[:1] + b"\0\0"]


def test_no_message_is_lost_by_the_death_of_the_worker_that_had_the_session(make):
    harness = make(3)
    client = joined(harness, 0, "me", "a", qos=2, clean=False)
    speaker = joined(harness, 1)
    for number in range(1, 200):
        speaker.say(publish("a", b"%d" % number, 1, number))
    assert len(speaker.hear()) == 199
    seen = client.messages()
    confirmed = [int(each[1]) for each in seen[:50]]
    for each in seen[:50]:
        client.say(acknowledge(each[4]))
    assert len(client.messages()) == 50  # as many more as were confirmed
    harness.kill(0)
    back, heard = Client(harness, 2, "me", clean=False), []
    while messages := back.messages():
        for each in messages:
            heard.append(int(each[1]))
            back.say(acknowledge(each[4]))
    assert confirmed + heard == list(range(1, 200))


def test_a_worker_that_starts_later_knows_all_sessions(make):
    harness = make(2)
    joined(harness, 0, "me", "a", qos=1, clean=False).say(DISCONNECT)
    stored = harness.plugin("mqtt", 1)._broker._stored
    assert stored.known == {"me": {"a": 1}}
    stored.known.clear()
    task = harness.workers[1].asyncio.create_task(stored.refresh())
    harness.run()
    assert task.result() is True
    assert stored.known == {"me": {"a": 1}}


def test_large_messages_are_queued_in_pieces(make):
    harness = make()
    joined(harness, 0, "me", "a", qos=1, clean=False).say(DISCONNECT)
    speaker, large = joined(harness, 1), bytes(range(256)) * 800
    speaker.say(publish("a", large, 1, 1))
    assert len(speaker.hear()) == 1
    back = Client(harness, 1, "me", clean=False)
    (message,) = back.messages()
    assert message[1] == large
    back.say(acknowledge(message[4]) + DISCONNECT)
    assert Client(harness, 0, "me", clean=False).payloads() == []


def test_sessions_that_are_away_for_too_long_are_forgotten(make):
    harness = make(2, session_expiry_seconds=1e-9)
    joined(harness, 0, "me", "a", qos=1, clean=False).say(DISCONNECT)
    harness.advance(0.1)
    harness.advance(200)
    assert Client(harness, 1, "me", clean=False).hear() == [b"\x20\0\0"]


@pytest.mark.parametrize("way", ["silence", "close", "reset", "death", "takeover"])
def test_a_will_is_published_when_its_client_goes_without_a_word(make, way):
    harness = make(3)
    hearer = joined(harness, 1, "", "last")
    client = Client(harness, 0, sends=connect_with_will("me", "last", "words", keep_alive=10))
    harness.advance(14)
    assert hearer.payloads() == []
    client.say(b"\xc0\0")
    harness.advance(14)
    assert hearer.payloads() == []
    if way == "silence":
        harness.advance(2)
    elif way == "close":
        client.connection.feed_eof()
    elif way == "reset":
        client.connection.reset()
    elif way == "death":
        harness.kill(0)
    else:
        joined(harness, 2, "me")
    assert hearer.payloads() == [b"words"]
    harness.kill(2)
    assert hearer.payloads() == []


def test_no_will_is_published_after_a_goodbye(make):
    harness = make()
    hearer = joined(harness, 1, "", "last")
    Client(harness, 0, sends=connect_with_will("me", "last", "words")).say(DISCONNECT)
    harness.kill(0)
    assert hearer.payloads() == []


@pytest.mark.parametrize(
    "data",
    [
        publish("a", b"x"),
        b"\xc0\0",
        b"\x00\0",
        b"\xf0\0",
        packet(0x10, text("MQTT") + bytes((4, 2, 0, 0)) + text("a")) * 2,
        packet(0x10, text("MQTT") + bytes((4, 2, 0, 0)) + text("a")) + b"\xc0\x01\0",
        packet(0x10, text("MQTT") + bytes((4, 2, 0, 0)) + text("a")) + b"\x20\x02\0\0",
        b"\x10\xff\xff\xff\xff",
        b"\x30\xff\xff\xff\x7f",
    ],
)
def test_who_does_not_keep_to_the_protocol_is_disconnected(make, data):
    client = Client(make(1), sends=data)
    client.hear()
    assert client.connection.closed


def test_who_says_nothing_is_disconnected(make):
    harness = make(1)
    silent = harness.connect()
    harness.advance(9)
    assert not silent.closed
    harness.advance(2)
    assert silent.closed


def test_limits(make):
    harness = make(
        1,
        max_subscriptions=2,
        max_topic_bytes=20,
        max_topic_levels=3,
        max_sessions=1,
        max_packet_bytes=1024,
    )
    client = joined(harness, 0, "me", clean=False)
    granted = []
    for name in ("a", "b" * 21, "ü" * 11, "a/b/c/d", "b", "c", "a"):
        client.say(subscribe(name, 1))
        granted.append(client.hear()[0][-1])
    assert granted == [1, 128, 128, 128, 1, 128, 1]
    client.say(publish("x" * 21, b"x", 1, 3))
    assert client.hear() == [b"\x40\0\3"]  # and nobody hears it
    assert Client(harness, 0, "other", clean=False).hear() == [b"\x20\0\3"]
    assert Client(harness, 0, "x" * 257).hear() == [b"\x20\0\2"]
    client.say(publish("a", bytes(1100)))
    assert client.connection.closed


def test_a_clean_session_that_confirms_nothing_is_ended_rather_than_robbed(make):
    harness = make(1, max_inflight=2, max_queued=3)
    hearer, speaker = joined(harness, 0, "me", "a", qos=1), joined(harness, 0)
    for number in range(1, 6):
        speaker.say(publish("a", b"%d" % number, 1, number))
    assert hearer.payloads() == [b"1", b"2"]
    assert not hearer.connection.closed
    speaker.say(publish("a", b"6", 1, 6))
    harness.run()
    assert hearer.connection.closed


def test_large_messages_wait_for_those_before_to_be_confirmed(make):
    harness = make(1, max_packet_bytes=1_000_000)
    hearer, speaker = joined(harness, 0, "me", "a", qos=1), joined(harness, 0)
    for number in range(1, 21):
        speaker.say(publish("a", bytes(900_000), 1, number))
    assert len(speaker.hear()) == 20
    first = hearer.messages()
    assert len(first) == 5
    for each in first:
        hearer.say(acknowledge(each[4]))
    assert len(hearer.messages()) == 5
    speaker.say(publish("a", bytes(900_000), 1, 1) * 9)  # 18 wait, and 16 MiB are 18.6
    harness.run()
    assert hearer.connection.closed


def test_a_session_that_persists_reads_what_it_lacks_from_its_queue(make):
    harness = make(2, max_inflight=2, max_queued=3)
    hearer = joined(harness, 0, "me", "a", qos=1, clean=False)
    speaker, heard = joined(harness, 1), []
    for number in range(1, 30):
        speaker.say(publish("a", b"%d" % number, 1, number))
    assert len(speaker.hear()) == 29
    while messages := hearer.messages():
        for each in messages:
            heard.append(int(each[1]))
            hearer.say(acknowledge(each[4]))
    assert heard == list(range(1, 30))
    speaker.say(publish("a", b"more", 1, 1))
    assert hearer.payloads() == [b"more"]


def test_who_has_lost_messages_is_disconnected_or_given_them_again(make):
    harness = make(2)
    clean = joined(harness, 0, "clean", "a", qos=1)
    careless = joined(harness, 0, "careless", "a", qos=0)
    persists = joined(harness, 0, "persists", "a", qos=1, clean=False)
    stored = harness.plugin("mqtt", 1)._broker._stored
    message = Message("a", b"lost", 1)
    stored.put("persists", stored.key(), message, lambda done: None)  # and nothing live
    harness.run()
    lost = Frame(Kind.LOST, 1, b"").pack()
    harness.bus._hub._send(harness.workers[0].pid, lost)
    harness.run()
    assert clean.connection.closed
    assert not careless.connection.closed
    assert persists.payloads() == [b"lost"]


def test_the_overloaded_bus_confirms_nothing(make):
    harness = make(1)
    speaker = joined(harness)
    harness.bus.overloaded = True
    speaker.say(publish("a", b"x", 1, 1))
    harness.advance(0.1)
    assert speaker.hear() == []
    assert speaker.connection.closed
    harness.bus.overloaded = False


def test_sys(make):
    harness = make(2, sys_seconds=10)
    client = joined(harness, 1, "", "$SYS/#", "#")
    joined(harness, 0).say(publish("a", b"x"))
    client.messages()
    harness.advance(10)
    found = {topic: payload for topic, payload, *_ in client.messages()}
    assert found["$SYS/broker/clients/connected"] == b"2"
    assert found["$SYS/broker/messages/received"] == b"1"
    assert found["$SYS/broker/version"].startswith(b"prefork-mqtt ")
    harness.kill(0)
    harness.advance(10)
    harness.advance(10)
    assert any(each[0] == "$SYS/broker/uptime" for each in client.messages())
    client.say(publish("$SYS/broker/uptime", b"forged", 1, 1))
    assert client.messages() == []


RULES = """
from host import hookimpl

@hookimpl
def check_login(username, password):
    if username == "nobody":
        return None
    return username == "me" and password == b"secret"

@hookimpl
def check_topic(username, topic, publishes):
    return topic.startswith("open/") or (publishes and topic == "in")
"""


def test_other_plugins_say_who_may_do_what(make, tmp_path):
    rules = tmp_path / "my_rules.py"
    rules.write_text(RULES)
    harness = make(1, str(rules), logins=["my_rules"], permissions=["my_rules"])

    def connecting(username, password, will=""):
        flags = 0xC2 | (4 if will else 0)
        body = text("MQTT") + bytes((4, flags, 0, 0)) + text("")
        body += (text(will) + text("x")) if will else b""
        return Client(harness, sends=packet(0x10, body + text(username) + text(password)))

    assert connecting("me", "wrong").hear() == [b"\x20\0\4"]
    assert connecting("nobody", "").hear() == [b"\x20\0\4"]
    assert Client(harness).hear() == [b"\x20\0\4"]
    assert connecting("me", "secret", "closed").hear() == [b"\x20\0\5"]
    assert connecting("me", "secret", "open/1").hear() == [b"\x20\0\0"]
    client = connecting("me", "secret")
    client.hear()
    client.say(subscribe("#", 0) + subscribe("open/#", 0))
    assert [each[-1] for each in client.hear()] == [128, 0]
    client.say(publish("open/1", b"x") + publish("closed", b"x", 1, 2) + publish("in", b"x"))
    assert client.hear() == [b"\x40\0\2", b"\x30\0\6open/1x"]

"""What clients of several workers hear of each other."""

import gc

import pytest
from prefork_mqtt.client import Client as ClientOfPlugin
from prefork_mqtt.session import Session
from reading import (
    DISCONNECT,
    Client,
    all_of,
    connect_with_will,
    joined,
    packet,
    publish,
    subscribe,
    text,
    unsubscribe,
)


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
    harness.bus.take_key("mqtt-client.me")
    harness.run()
    assert mine.connection.closed
    assert not other.connection.closed


def test_who_does_not_give_up_a_client_makes_the_other_one_be_refused(make):
    harness = make()
    harness.workers[0].bus.claim("mqtt-client.me", lambda owned: None)
    harness.run()
    late = Client(harness, 1, "me")
    assert late.hear() == []
    harness.advance(30)
    assert late.hear() == [b"\x20\0\x03"]
    assert late.connection.closed


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


def test_what_clients_are_sent_is_counted_live_retained_and_queued(make):
    harness = make()
    speaker = joined(harness, 0)
    away = joined(harness, 1, "me", "a", qos=1, clean=False)
    away.say(DISCONNECT)
    speaker.say(b"\x33" + publish("a", b"x", 1, 1)[1:])
    delivered = "prefork_mqtt_delivered_messages_total"
    assert harness.metrics()[delivered] == 0
    back = Client(harness, 1, "me", clean=False)
    assert (back.payloads(), harness.metrics()[delivered]) == ([b"x"], 1)
    late = joined(harness, 1, "", "a")
    assert harness.metrics()[delivered] == 2
    for qos in (0, 1):
        speaker.say(publish("a", b"live", qos, 2))
    assert (late.payloads(), harness.metrics()[delivered]) == ([b"live"] * 2, 6)
    late.connection.window = 0
    filling = bytes(200_000)
    while not late.connection.congested:
        speaker.say(publish("a", filling))
    before = harness.metrics()[delivered]
    speaker.say(publish("a", b"dropped"))  # back hears it, late does not
    assert harness.metrics()[delivered] == before + 1
    assert harness.metrics()['prefork_mqtt_dropped_messages_total{reason="slow"}'] == 1


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


def test_wills_that_nobody_has_published_are_published_by_who_finds_them(make):
    """Their worker was the only one, or who has published them has died, too."""
    harness = make(1)
    hearer = joined(harness, 0, "", "last")
    harness.workers[0].bus.table("mqtt-wills").set("dead/1", b"\x00\x00\x04lastwords")
    harness.advance(61)
    assert hearer.payloads() == [b"words"]
    assert all_of(harness, "mqtt-wills") == {}


def test_who_was_taken_for_dead_has_its_wills_again(make):
    harness = make(1)
    client = Client(harness, 0, sends=connect_with_will("me", "last", "words"))
    before, member = all_of(harness, "mqtt-wills"), harness.workers[0].bus.member
    harness.workers[0].bus.table("mqtt-wills").delete(f"{member}/1")
    harness.bus.take_key(f"mqtt-wills.{member}")
    harness.advance(61)
    assert not client.connection.closed
    assert all_of(harness, "mqtt-wills") == before != {}


def test_a_will_is_published_as_soon_as_the_bus_takes_it(make):
    harness = make(1)
    hearer = joined(harness, 0, "", "last")
    client = Client(harness, 0, sends=connect_with_will("me", "last", "words"))
    harness.bus.overloaded = True
    client.connection.feed_eof()
    harness.run()
    harness.bus.overloaded = False
    harness.advance(3)
    assert hearer.payloads() == [b"words"]
    assert all_of(harness, "mqtt-wills") == {}


def test_a_client_that_does_not_read_loses_messages_with_qos_0_and_nobody_else_does(make):
    harness = make(1)
    slow, other, speaker = (joined(harness, 0, "", "a") for _ in range(3))
    slow.connection.window = 0
    for number in range(20):
        speaker.say(publish("a", b"%02d" % number + bytes(50_000)))
    slow.connection.window = None
    heard = [int(each[:2]) for each in slow.payloads()]
    assert heard == list(range(len(heard)))
    assert 0 < len(heard) < 20
    assert len(other.payloads()) == len(speaker.payloads()) == 20
    speaker.say(publish("a", b"20"))
    assert slow.payloads() == [b"20"]


@pytest.mark.parametrize("clean", [True, False])
def test_a_client_that_has_gone_leaves_nothing_to_the_collector(make, clean):
    harness = make(1)
    speaker = joined(harness)
    gc.collect()
    gc.disable()
    try:
        hearer = joined(harness, 0, "me", "a", qos=1, clean=clean)
        for _ in range(200):
            speaker.say(publish("a", b"x", 1))
        assert len(hearer.messages()) == 100  # the others wait
        hearer.say(publish("a", bytes(100_000))[:50_000])
        hearer.connection.feed_eof()
        harness.run()
        assert hearer.connection.closed
        left = [each for each in gc.get_objects() if isinstance(each, (ClientOfPlugin, Session))]
        assert len(left) == 2  # the speaker and its session
    finally:
        gc.enable()

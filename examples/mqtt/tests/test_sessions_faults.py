"""Sessions whose worker dies, whose bus is away or full, and who keep to no limits."""

import pytest
from prefork_mqtt.session import Message
from reading import (
    DISCONNECT,
    Client,
    acknowledge,
    all_of,
    connect_with_will,
    joined,
    publish,
    subscribe,
)

from host.bus.frames import Frame, Kind


def answers_of_a_broker_that_has_forgotten_all(bus):
    """Have nobody know what becomes of changes of tables; messages have their place."""
    do = bus._do

    def answer(member, frame):
        if frame is not None and frame.kind == Kind.TABLE:
            bus._send(member, Frame(Kind.NO_ANSWER, frame.number, b"").pack())
        else:
            do(member, frame)

    return answer


@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_published_while_the_broker_is_away_is_confirmed_when_it_is_back(make, qos):
    harness = make(2)
    joined(harness, 0, "me", "a", qos=qos, clean=False).say(DISCONNECT)
    speaker = joined(harness, 1)
    harness.bus.away = True
    for number in (1, 2, 3):
        speaker.say(publish("a", b"%d" % number, qos, number))
    harness.advance(10)
    assert speaker.hear() == []
    harness.bus.away = False
    harness.run()
    assert [each[0] for each in speaker.hear()] == [0x40 if qos == 1 else 0x50] * 3
    assert not speaker.connection.closed
    assert Client(harness, 0, "me", clean=False).payloads() == [b"1", b"2", b"3"]


@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_confirmed_if_nobody_knows_whether_it_is_in_all_queues(make, monkeypatch, qos):
    harness = make(2)
    joined(harness, 0, "me", "a", qos=qos, clean=False).say(DISCONNECT)
    speaker = joined(harness, 1, "speaker", clean=False)
    with monkeypatch.context() as patch:
        patch.setattr(harness.bus, "_do", answers_of_a_broker_that_has_forgotten_all(harness.bus))
        speaker.say(publish("a", b"x", qos, 1))
        harness.run()
    assert speaker.hear() == []
    assert speaker.connection.closed
    harness.advance(10)
    speaker = Client(harness, 0, "speaker", clean=False)
    speaker.say(bytes((publish("a", b"x", qos, 1)[0] | 8,)) + publish("a", b"x", qos, 1)[1:])
    assert [each[0] for each in speaker.hear()] == [0x20, 0x40 if qos == 1 else 0x50]
    assert Client(harness, 1, "me", clean=False).payloads() == [b"x"]


def test_a_session_is_stored_as_soon_as_the_bus_is_back(make):
    """So are what the client has confirmed, and that it has no will any more."""
    harness = make(2)
    hearer, wills = joined(harness, 0, "me", "a", qos=1, clean=False), joined(harness, 1, "", "w")
    leaving = Client(harness, 0, sends=connect_with_will("other", "w", "words"))
    joined(harness, 1).say(publish("a", b"x", 1, 1))
    (message,) = hearer.messages()
    harness.bus.away = True
    hearer.say(acknowledge(message[4]) + DISCONNECT)
    leaving.say(DISCONNECT)
    harness.advance(5)
    harness.bus.away = False
    harness.advance(5)
    back = Client(harness, 1, "me", clean=False)
    assert back.hear() == [b"\x20\x01\x00"]
    harness.kill(0)
    assert wills.payloads() == []


def test_a_queue_that_is_full_loses_what_comes_last(make):
    harness = make(1)
    joined(harness, 0, "me", "a", qos=1, clean=False).say(DISCONNECT)
    speaker, count = joined(harness), 21  # of 200 kB: more than 4 MiB
    for number in range(1, count + 1):
        speaker.say(publish("a", b"%d" % number + bytes(200_000), 1, number))
    assert len(speaker.hear()) == count
    back, heard = Client(harness, 0, "me", clean=False), []
    while messages := back.messages():
        for each in messages:
            heard.append(int(each[1].rstrip(b"\0")))
            back.say(acknowledge(each[4]))
    assert heard == list(range(1, 21))
    harness.run()
    assert all_of(harness, "mqtt-queue.me") == {}


def again(data):
    """Return a PUBLISH as one that is sent again."""
    return bytes((data[0] | 8,)) + data[1:]


def lose(harness, worker):
    """Have a worker told that it has lost messages."""
    harness.bus._hub._send(harness.workers[worker].pid, Frame(Kind.LOST, 1, b"").pack())
    harness.run()


def test_a_number_that_was_free_again_before_a_kill_is_no_old_one(make):
    harness = make(2)
    hearer = joined(harness, 1, "", "a", qos=2)
    speaker = joined(harness, 0, "speaker", clean=False)
    speaker.say(publish("a", b"1", 2, 1) + subscribe("b", 1) + b"\x62\x02\0\x01")
    assert len(speaker.hear()) == 3
    harness.kill(0)
    speaker = Client(harness, 1, "speaker", clean=False)
    speaker.say(publish("a", b"2", 2, 1))
    assert [each[0] for each in speaker.hear()] == [0x20, 0x50]
    assert hearer.payloads() == [b"1", b"2"]


def test_what_is_under_way_to_the_bus_when_its_client_goes_comes_once(make):
    harness = make(2)
    hearer = joined(harness, 1, "", "a", qos=2)
    speaker, message = joined(harness, 0, "speaker", clean=False), publish("a", b"x", 2, 9)
    harness.bus.away = True
    speaker.say(message + again(message))
    assert speaker.hear() == []
    speaker.connection.feed_eof()
    harness.run()
    early = Client(harness, 1, "speaker", clean=False)
    harness.bus.away = False
    assert early.hear() == [b"\x20\x01\0"]
    early.say(again(message))
    assert [each[0] for each in early.hear()] == [0x50]
    assert hearer.payloads() == [b"x"]


def test_who_sends_more_with_qos_2_than_is_kept_is_disconnected(make):
    speaker = joined(make(1), 0, "me", clean=False)
    speaker.say(b"".join(publish("a", b"x", 2, number) for number in range(1, 1001)))
    assert len(speaker.hear()) == 1000
    speaker.say(publish("a", b"x", 2, 1001))
    assert speaker.connection.closed


def test_a_session_that_is_too_long_keeps_what_it_was(make):
    harness = make(2)
    client = joined(harness, 0, "me", "a", qos=1, clean=False)
    granted, filters = [], [f"{number:03}/{'x' * 395}" for number in range(190)]
    for each in filters:
        client.say(subscribe(each, 1))
        granted.append(client.hear()[0][-1])
    assert {0x01, 0x80} == set(granted)
    assert granted == sorted(granted)
    speaker = joined(harness, 1)
    speaker.say(publish(filters[0], b"first", 1, 1) + publish(filters[-1], b"last", 1, 2))
    assert client.payloads() == [b"first"]
    client.say(DISCONNECT)
    assert Client(harness, 1, "me", clean=False).hear()[0] == b"\x20\x01\0"


def test_what_is_retained_and_not_confirmed_comes_again_after_a_kill_in_its_order(make):
    harness = make(2, max_inflight=1)
    speaker = joined(harness, 1)
    speaker.say(bytes((0x33,)) + publish("a", b"0", 1, 1)[1:])
    client = joined(harness, 0, "me", "b", qos=1, clean=False)
    speaker.say(publish("b", b"fills", 1, 2))
    assert len(client.messages()) == 1
    client.say(subscribe("a", 1))
    speaker.say(publish("a", b"1", 1, 3) + publish("a", b"2", 1, 4))
    harness.kill(0)
    back, heard = Client(harness, 1, "me", clean=False), []
    while messages := back.messages():
        for each in messages:
            heard.append(each[1])
            back.say(acknowledge(each[4]))
    assert heard == [b"fills", b"0", b"1", b"2"]


def test_a_message_that_reaches_a_session_live_only_is_kept_all_the_same(make):
    """Its publisher's worker has not known of the session yet."""
    harness = make(2)
    client = joined(harness, 0, "me", "a", qos=1, clean=False)
    stored = harness.plugin("mqtt", 1)._broker._stored
    stored.table._apply("me", None)
    joined(harness, 1).say(publish("a", b"x", 1, 1))
    assert client.payloads() == [b"x"]
    harness.kill(0)
    assert Client(harness, 1, "me", clean=False).payloads() == [b"x"]


def test_what_is_put_into_the_queue_of_a_session_that_is_gone_is_removed(make):
    harness = make(2)
    joined(harness, 0, "me", "a", qos=1, clean=False).say(DISCONNECT)
    stored = harness.plugin("mqtt", 1)._broker._stored
    joined(harness, 0, "me")  # clean
    stored.table._apply("me", b'{"a": 1}')  # it has not heard of that
    stored.enqueue("me", Message("a", b"x", 1))
    harness.bus._hub.receive(
        harness.workers[0].pid, Frame(Kind.PUBLISH, 0, b"mqtt-sessions-changes", b"\0\2me-")
    )
    harness.run()
    assert all_of(harness, "mqtt-queue.me") == {}


def test_a_session_that_the_bus_has_forgotten_is_ended(make):
    harness = make(2)
    client = joined(harness, 0, "me", "a", qos=1, clean=False)
    harness.workers[1].bus.table("mqtt-sessions").delete("me")
    harness.run()
    lose(harness, 0)
    assert client.connection.closed
    assert Client(harness, 0, "me", clean=False).hear() == [b"\x20\0\0"]


def test_a_worker_that_starts_without_the_broker_of_the_bus_waits_for_it(make):
    harness = make(1)
    stored = harness.plugin("mqtt", 0)._broker._stored
    harness.bus.away = True
    task = harness.workers[0].asyncio.create_task(stored.table.refresh())
    harness.run()  # which ends: nothing is tried again at once
    harness.bus.away = False
    assert not task.done()
    harness.advance(2)
    assert task.done()


def test_what_comes_live_while_the_queue_is_read_takes_its_place(make):
    """It is not in there if the bus has lost its broker meanwhile; what was confirmed may be."""
    harness = make(2)
    client, speaker = joined(harness, 0, "me", "a", qos=2, clean=False), joined(harness, 1)
    broker, reads = harness.plugin("mqtt", 0)._broker, []
    speaker.say(publish("a", b"1", 2, 1))
    (first,) = client.messages()
    broker._stored.read = lambda client_id, done: reads.append(done)
    session = broker.clients["me"].session
    before = {sent.message.key: sent.message for sent in session.window.unconfirmed()}
    broker.refill(session)
    client.say(b"\x50\x02" + first[4].to_bytes(2, "big"))
    for number in (2, 3):
        speaker.say(publish("a", b"%d" % number, 2, number))
    client.hear()
    later = Message("a", b"4", 2, f"~.{number}")
    reads.pop()(before | {later.key: later})
    assert client.payloads() == [b"2", b"3", b"4"]


def test_retained_messages_for_a_client_that_is_slow_wait_in_its_queue(make):
    harness = make(2, max_inflight=2, max_queued=3)
    client, speaker = joined(harness, 0, "me", "a", qos=1, clean=False), joined(harness, 1)
    for number in range(20):
        speaker.say(bytes((0x33,)) + publish(f"kept/{number}", b"%d" % number, 1, number + 1)[1:])
    for number in range(10):
        speaker.say(publish("a", b"a%d" % number, 1, number + 1))
    client.say(subscribe("kept/#", 1))
    reads, read = [], harness.plugin("mqtt", 0)._broker._stored.read
    harness.plugin("mqtt", 0)._broker._stored.read = lambda *asked: reads.append(read(*asked))
    heard = []
    while messages := client.messages():
        for each in messages:
            heard.append(each[1])
            client.say(acknowledge(each[4]))
    assert sorted(heard) == sorted(b"%d" % each for each in range(20)) + sorted(
        b"a%d" % each for each in range(10)
    )
    assert len(reads) < 15


def test_a_filter_that_is_refused_is_as_it_was_before(make):
    harness = make(2)
    client, speaker = joined(harness, 0, "me", "a", qos=0, clean=False), joined(harness, 1)
    harness.workers[1].bus.table("mqtt-sessions").set("me", b"of another worker")
    harness.run()
    client.say(subscribe("a", 1))
    client.say(subscribe("b", 1))
    assert [each[-1] for each in client.hear()] == [0x80, 0x80]
    speaker.say(publish("a", b"x", 1, 1) + publish("b", b"y", 1, 2))
    assert [each[1:3] for each in client.messages()] == [(b"x", 0)]


def test_a_session_that_comes_back_is_not_sent_what_is_retained(make):
    harness = make(2)
    joined(harness, 1).say(bytes((0x33,)) + publish("a", b"kept", 1, 1)[1:])
    joined(harness, 0, "me", "a", qos=0, clean=False).say(DISCONNECT)
    asked, bus = [], harness.workers[1].bus
    read = bus.read_retained
    bus.read_retained = lambda *words, **more: asked.append(read(*words, **more))
    assert Client(harness, 1, "me", clean=False).hear() == [b"\x20\x01\0"]
    assert asked == []


def test_one_read_of_the_queue_is_under_way_however_much_is_confirmed(make):
    harness = make(2)
    client, speaker = joined(harness, 0, "me", "a", qos=1, clean=False), joined(harness, 1)
    for number in range(5):
        speaker.say(publish("a", b"%d" % number, 1, number + 1))
    messages = client.messages()
    broker, reads = harness.plugin("mqtt", 0)._broker, []
    broker._stored.read = lambda client_id, done: reads.append(done)
    broker.refill(broker.clients["me"].session)
    for each in messages:
        client.say(acknowledge(each[4]))
    assert len(reads) == 1
    broker.refill(broker.clients["me"].session)
    late = Message("a", b"late", 1, "~.1")
    reads[0]({late.key: late})
    assert client.messages() == []
    reads[1]({late.key: late})
    assert client.payloads() == [b"late"]


def test_of_connections_that_wait_for_a_name_the_last_one_gets_it(make):
    harness = make(2)
    hearer = joined(harness, 0, "", "last")
    harness.workers[0].bus.claim("mqtt-client.me", lambda owned: None)
    harness.run()
    gone = Client(harness, 1, sends=connect_with_will("me", "last", "words"))
    gone.connection.feed_eof()
    here = Client(harness, 1, "me")
    assert gone.connection.closed
    harness.workers[0].bus.release("mqtt-client.me")
    harness.advance(4)
    assert here.hear() == [b"\x20\0\0"]
    harness.advance(10)
    assert not here.connection.closed
    assert hearer.payloads() == []

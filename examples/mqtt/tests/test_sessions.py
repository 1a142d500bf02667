"""What is kept for clients that are away, or slow; and what is not confirmed since it is not."""

from prefork_mqtt.session import Message
from reading import (
    CONNACK,
    DISCONNECT,
    Client,
    acknowledge,
    joined,
    publish,
    subscribe,
)

from host.bus.frames import Frame, Kind
from host.bus.tables import READS, Request


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
    assert stored.table.copy == {"me": b'{"a": 1}'}
    stored.table.copy.clear()
    task = harness.workers[1].asyncio.create_task(stored.table.refresh())
    harness.run()
    assert task.done()
    assert stored.table.copy == {"me": b'{"a": 1}'}


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


def test_sessions_whose_clients_are_connected_are_stored_after_others_were_looked_for(make):
    harness = make(2)
    hearer = joined(harness, 0, "me", "a", qos=1, clean=False)
    harness.advance(200)
    hearer.say(subscribe("b", 1))
    assert hearer.hear() == [b"\x90\x00\x01\x01"]
    hearer.say(DISCONNECT)
    joined(harness, 1).say(publish("b", b"x", 1, 1))
    assert Client(harness, 1, "me", clean=False).payloads() == [b"x"]


def test_sessions_that_are_away_for_too_long_are_forgotten(make):
    harness = make(2, session_expiry_seconds=1e-9)
    joined(harness, 0, "me", "a", qos=1, clean=False).say(DISCONNECT)
    harness.advance(0.1)
    harness.advance(200)
    assert Client(harness, 1, "me", clean=False).hear() == [b"\x20\0\0"]


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
    stored.enqueue("persists", Message("a", b"lost", 1))  # and nothing live
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


def test_numbers_begin_with_1_for_a_client_that_has_left_but_not_after_a_kill(make, monkeypatch):
    """A client may remember numbers of a worker that was killed, and nobody else does."""
    monkeypatch.setattr("random.randrange", lambda most: 41)
    harness = make(2)
    joined(harness, 0, "me", "a", qos=1, clean=False).say(DISCONNECT)
    joined(harness, 1).say(publish("a", b"1", 1, 1))
    assert [each[4] for each in Client(harness, 0, "me", clean=False).messages()] == [1]
    harness.kill(0)
    back = Client(harness, 1, "me", clean=False)
    joined(harness, 1).say(publish("a", b"2", 1, 1))
    assert [each[1:5:3] for each in back.messages()] == [(b"1", 42), (b"2", 43)]


def test_who_subscribes_to_more_than_may_wait_is_disconnected(make):
    """What is retained waits for the answer to all filters, and each may match all of it."""
    harness = make(1, max_queued_bytes=2000)
    speaker, client = joined(harness), Client(harness, 0, "me")
    client.hear()
    for topic in ("a/1", "a/2"):
        speaker.say(b"\x31" + publish(topic, b"x" * 900)[1:])
    client.say(subscribe("a/+", 0))
    assert len(client.messages()) == 2
    filters = b"".join(b"\0\3" + each + b"\0" for each in (b"a/+", b"+/1", b"a/#"))
    client.say(b"\x82" + bytes((2 + len(filters),)) + b"\0\1" + filters)
    assert client.connection.closed


def test_nothing_comes_before_the_answer_to_connect(make, monkeypatch):
    """Whatever is published while the session is stored [3.2.0-1]."""
    harness = make(2)
    joined(harness, 0, "me", "a", qos=1, clean=False).say(DISCONNECT)
    speaker, held, do = joined(harness, 1), [], harness.bus._do

    def hold_changes(member, frame):
        is_change = frame.kind == Kind.TABLE and Request.unpack(frame.payload).op not in READS
        (held.append if is_change else lambda each: do(*each))((member, frame))

    with monkeypatch.context() as patch:
        patch.setattr(harness.bus, "_do", hold_changes)
        back = Client(harness, 0, "me", clean=False)
        speaker.say(publish("a", b"early"))
        assert (len(held), back.hear()) == (1, [])
    do(*held[0])
    assert back.hear() == [b"\x20\x01\x00"]
    speaker.say(publish("a", b"late"))
    assert back.payloads() == [b"late"]

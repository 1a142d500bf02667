"""A worker's end: what it hears and in which order, keys that it owns, and what is refused."""

import time

import pytest

from support.buses import Subscriber, connected


def test_everyone_hears_with_sender_and_topic():
    with connected() as scene:
        hearers = [Subscriber(bus, "t") for bus in scene.buses.values()]
        scene.run()
        assert scene.buses[2].publish("t", b"hello")
        scene.run()
        for hearer in hearers:
            ready, message = hearer.heard
            assert ready == "ready"
            assert (message.topic, message.payload) == ("t", b"hello")
            assert message.sender == scene.buses[2].member == "2"
            assert not message.retained


def test_retained_then_ready_then_live():
    with connected() as scene:
        for number in range(5):
            scene.buses[1].publish("t", b"%d" % number, retain=3)
        scene.run()
        hearer = Subscriber(scene.buses[2], "t")
        scene.buses[2].publish("t", b"live")
        scene.run()
        assert hearer.payloads == [b"2", b"3", b"4", "ready", b"live"]
        assert [each.retained for each in hearer.heard if each != "ready"] == [True] * 3 + [False]
        assert hearer.heard[0].sender == "1"


def test_two_subscriptions_of_one_worker_each_hear_all_of_it():
    with connected() as scene:
        scene.buses[1].publish("t", b"0", retain=5)
        one = Subscriber(scene.buses[1], "t")
        scene.run()
        other = Subscriber(scene.buses[1], "t")
        scene.buses[2].publish("t", b"1")
        scene.run()
        assert one.payloads == other.payloads == [b"0", "ready", b"1"]


def test_who_subscribes_to_what_is_heard_already_hears_it_too():
    with connected() as scene:
        hearers = [Subscriber(scene.buses[1], "a.b")]
        for prefix in ("a.", "a"):
            scene.run()
            scene.buses[2].publish("a.b", b"%d" % len(hearers))
            scene.run()
            hearers.append(Subscriber(scene.buses[1], prefix, prefix=True))
        scene.run()
        scene.buses[2].publish("a.b", b"3")
        scene.run()
        assert [each.payloads[1:] for each in hearers] == [[b"1", b"2", b"3"], [b"2", b"3"], [b"3"]]


def fails(*_):
    raise ZeroDivisionError


def test_the_log_names_the_function_that_was_given_and_has_failed():
    with connected(1) as scene:
        bus = scene.buses[1]
        bus.subscribe("t", fails, fails)
        bus.claim("k", fails)
        scene.run()
        bus.publish("t", b"x", done=fails)
        scene.run()
        assert scene.blamed == [(__name__, "fails")] * 4


@pytest.mark.parametrize("answered", [True, False])
def test_after_unsubscribing_nothing_is_heard(answered):
    """Not even what the hub had sent for the subscription before it knew."""
    with connected() as scene:
        scene.buses[1].publish("t", b"kept", retain=1)
        scene.run()
        hearer = Subscriber(scene.buses[2], "t")
        if answered:
            scene.run()
        heard = len(hearer.heard)
        scene.buses[2].unsubscribe("t")
        scene.buses[1].publish("t", b"more")
        scene.run()
        assert len(hearer.heard) == heard
        again = Subscriber(scene.buses[2], "t")
        scene.run()
        assert again.payloads == [b"kept", "ready"]
        assert len(hearer.heard) == heard


def test_claims_are_answered_in_order_and_released_when_the_owner_ends():
    with connected() as scene:
        answers = []
        for member in (1, 2, 1):
            scene.buses[member].claim("k", lambda owned, who=member: answers.append((who, owned)))
            scene.run()
        assert answers == [(1, True), (2, False), (1, False)]
        scene.kill(1)
        scene.buses[2].claim("k", lambda owned: answers.append((2, owned)))
        scene.run()
        assert answers[-1] == (2, True)


def test_of_many_who_claim_at_once_one_gets_it():
    members = range(1, 9)
    with connected(*members) as scene:
        answers = []
        for bus in scene.buses.values():
            for key in ("a", "b"):
                bus.claim(key, lambda owned, key=key: answers.append((key, owned)))
        scene.run()
        for key in ("a", "b"):
            assert sorted(owned for each, owned in answers if each == key) == [False] * 7 + [True]


def test_a_callback_that_raises_harms_no_other():
    with connected() as scene:
        scene.buses[1].subscribe("t", lambda _: 1 / 0)
        hearer = Subscriber(scene.buses[1], "t")
        scene.run()
        scene.buses[1].publish("t", b"x")
        scene.run()
        assert hearer.payloads == ["ready", b"x"]
        assert [type(failure) for failure in scene.failures] == [ZeroDivisionError]


def test_messages_that_take_long_leave_others_their_turn_and_come_in_their_order():
    with connected() as scene:
        heard, others = [], []

        def slow(message):
            if not heard:
                scene.loop.call_from_thread(lambda: others.append(len(heard)))
            heard.append(message.payload)
            until = time.monotonic() + 0.002
            while time.monotonic() < until:
                pass

        scene.buses[1].subscribe("t", slow)
        scene.run()
        messages = [b"%d" % number for number in range(40)]
        for each in messages:
            scene.buses[1].publish("t", each)
        scene.run()
        assert heard == messages
        assert others == [4]


def test_what_is_no_name_or_too_long_is_an_error():
    with connected(1) as scene:
        for name in ("", "x" * 513, "ü" * 257):
            with pytest.raises(ValueError, match="1 to 512 bytes"):
                scene.buses[1].publish(name, b"")
        with pytest.raises(ValueError, match="1048576 at most"):
            scene.buses[1].publish("t", bytes(1_048_577))


def test_a_worker_that_has_too_much_waiting_is_told_so_at_once():
    with connected(1, max_queued=2_000) as scene:
        bus, answers = scene.buses[1], []
        taken = 0
        while bus.publish("t", bytes(300)):
            taken += 1
        assert taken == 6
        bus.claim("k", answers.append)  # has room of its own
        with pytest.raises(BlockingIOError):
            all(Subscriber(bus, "t") for _ in range(1000))
        bus.claim("l", answers.append)
        assert answers == []  # never before claim() has returned
        scene.run()
        assert sorted(answers) == [False, True]
        assert bus.publish("t", b"again")


def test_a_topic_that_is_none_is_refused_and_leaves_nothing_behind():
    with connected(1) as all_of_it:
        bus = all_of_it.buses[1]
        with pytest.raises(ValueError, match="1 to 512 bytes"):
            bus.subscribe("", print)
        assert not bus._subscriptions
        assert not bus._pending


def test_a_prefix_hears_all_topics_that_begin_so_each_once():
    with connected() as scene:
        scene.buses[1].publish("room.a", b"0", retain=1)
        scene.buses[1].publish("room.b", b"1", retain=1)
        scene.buses[1].publish("hall", b"2", retain=1)
        scene.run()
        hearer = Subscriber(scene.buses[2], "room.", prefix=True)
        exact = Subscriber(scene.buses[2], "room.a")
        scene.run()
        assert [(each.topic, each.payload) for each in hearer.heard[:-1]] == [
            ("room.a", b"0"),
            ("room.b", b"1"),
        ]
        for topic in ("room.a", "room.", "room", "hall", "rooms.a"):
            scene.buses[3].publish(topic, topic.encode())
        scene.run()
        assert hearer.payloads[2:] == ["ready", b"room.a", b"room."]
        assert exact.payloads == [b"0", "ready", b"room.a"]
        scene.buses[2].unsubscribe("room.", prefix=True)
        scene.buses[3].publish("room.a", b"end")
        scene.run()
        assert hearer.payloads[-1] == b"room."
        assert exact.payloads[-1] == b"end"


def test_who_leaves_hears_no_prefix_any_more():
    with connected() as scene:
        Subscriber(scene.buses[1], "a", prefix=True)
        scene.run()
        scene.kill(1)
        assert scene.router.hub.state().prefix_hearers == []


def test_a_publisher_is_told_when_its_message_has_its_place():
    with connected(1, 2, max_queued=1_000) as scene:
        hearer, told = Subscriber(scene.buses[2], "t"), []
        scene.run()
        assert scene.buses[1].publish("t", b"x", done=lambda done: told.append(("x", done)))
        assert scene.buses[1].publish("t", b"y", done=lambda done: told.append(("y", done)))
        assert not scene.buses[1].publish(
            "t", bytes(990), done=lambda done: told.append(("z", done))
        )
        assert told == []  # never before publish() has returned
        scene.run()
        assert sorted(told) == [("x", True), ("y", True), ("z", False)]
        assert scene.counts[1] == {"published": 2, "refused": 1}
        assert hearer.payloads == ["ready", b"x", b"y"]


def test_each_owner_of_a_key_has_a_greater_fencing_number():
    with connected() as scene:
        fences = []
        for member in (1, 2, 1, 3):
            bus = scene.buses[member]
            assert bus.fence("k") is None
            bus.claim("k", lambda _: None)
            scene.run()
            fences.append(bus.fence("k"))
            bus.release("k")
            assert bus.fence("k") is None
            scene.run()
        assert fences == sorted(set(fences))
        assert min(fences) > 0


def test_a_key_that_is_given_up_before_it_is_granted_has_no_fencing_number():
    with connected(1) as scene:
        bus, answers = scene.buses[1], []
        bus.claim("k", answers.append)
        bus.release("k")
        scene.run()
        assert (answers, bus.fence("k")) == ([True], None)
        bus.claim("k", answers.append)
        bus.release("k")
        bus.claim("k", answers.append)
        scene.run()
        assert answers == [True, True, True]
        assert bus.fence("k") == 3


def read_retained(bus, topic, *, prefix=False):
    heard = []
    bus.read_retained(topic, heard.append, lambda: heard.append("ready"), prefix=prefix)
    return heard


def test_what_is_retained_can_be_read_beside_a_subscription_as_often_as_one_likes():
    with connected() as scene:
        hearer = Subscriber(scene.buses[2], "a.1")
        scene.run()
        for topic in ("a.1", "a.2", "b"):
            scene.buses[1].publish(topic, topic.encode(), retain=2)
        scene.run()
        exact = read_retained(scene.buses[2], "a.1")
        some = read_retained(scene.buses[2], "a.", prefix=True)
        nothing = read_retained(scene.buses[2], "c")
        scene.run()
        assert [each.payload for each in exact[:-1]] == [b"a.1"]
        assert [each.payload for each in some[:-1]] == [b"a.1", b"a.2"]
        assert all(each.retained for each in exact[:-1] + some[:-1])
        assert exact[-1] == some[-1] == "ready"
        assert nothing == ["ready"]
        scene.buses[1].publish("a.1", b"live")
        scene.run()
        assert (len(exact), len(some)) == (2, 3)  # nothing live
        assert hearer.payloads == ["ready", b"a.1", b"live"]
        scene.buses[2].unsubscribe("a.1")
        read_retained(scene.buses[2], "a.1")
        scene.run()
        assert scene.router.hub.state().hearers == []


def test_what_was_heard_live_before_is_in_what_is_retained():
    """Messages and what is retained come in one order: none is missed and none comes twice."""
    with connected() as scene:
        order = []
        scene.buses[2].subscribe("t", lambda message: order.append(message.payload))
        scene.run()
        scene.buses[1].publish("t", b"before", retain=1)
        scene.run(1)
        scene.buses[2].read_retained(
            "t", lambda message: order.append((message.payload,)), lambda: order.append("ready")
        )
        scene.buses[2].flush()
        scene.buses[1].publish("t", b"after", retain=1)
        scene.run()
        assert order in (
            [b"before", (b"before",), "ready", b"after"],
            [b"before", b"after", (b"after",), "ready"],
        )


def test_a_question_for_what_is_retained_can_be_too_much():
    with connected(1, max_queued=200) as scene, pytest.raises(BlockingIOError):
        all(read_retained(scene.buses[1], "t") is not None for _ in range(1000))


def test_prefixes_of_many_lengths_are_heard():
    with connected() as scene:
        bus, prefixes = scene.buses[2], ("a", "ab", "abcd")
        hearers = {each: Subscriber(bus, each, prefix=True) for each in prefixes}
        scene.run()
        scene.buses[1].publish("ab", b"x")
        scene.run()
        bus.unsubscribe("ab", prefix=True)
        scene.buses[1].publish("abcd", b"y")
        scene.run()
        assert [each.payloads[1:] for each in hearers.values()] == [[b"x", b"y"], [b"x"], [b"y"]]


def test_a_callback_of_several_subscriptions_hears_each_message_once():
    with connected() as scene:
        heard, other = [], Subscriber(scene.buses[2], "a.", prefix=True)
        for topic, prefix in (("a.1", False), ("a.1", False), ("a.", True), ("a", True)):
            scene.buses[2].subscribe(topic, heard.append, prefix=prefix)
        scene.run()
        for topic in ("a.1", "a.2", "b"):
            scene.buses[1].publish(topic, topic.encode())
        scene.run()
        assert [each.payload for each in heard] == [b"a.1", b"a.2"]
        assert other.payloads == ["ready", b"a.1", b"a.2"]
        scene.buses[2].unsubscribe("a.", prefix=True)
        scene.buses[2].unsubscribe("a", prefix=True)
        scene.buses[1].publish("a.1", b"more")
        scene.run()
        assert [each.payload for each in heard[2:]] == [b"more"]

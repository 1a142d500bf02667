"""All hear in one order; one that does not read, sends rubbish or dies hinders nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.bus.frames import Frame, Kind
from host.interfaces import BUS_LEFT, BUS_LOST
from support.buses import Subscriber, connected


def test_the_others_hear_of_a_death_after_all_that_it_has_said():
    with connected() as scene:
        said = []
        scene.buses[1].subscribe("t", lambda message: said.append(message.payload))
        scene.buses[1].subscribe(BUS_LEFT, lambda message: said.append(message.payload))
        scene.run()
        for number in range(100):
            scene.buses[2].publish("t", b"%d" % number)
        scene.buses[2].flush()
        scene.kill(2)
        scene.run()
        assert said == [*(b"%d" % number for number in range(100)), b"2"]


def test_one_that_does_not_read_loses_messages_is_told_how_many_and_holds_up_nobody():
    size, count = 500_000, 40
    with connected() as scene:
        lost = []
        slow, other = Subscriber(scene.buses[1], "t"), Subscriber(scene.buses[2], "t")
        scene.buses[1].subscribe(BUS_LOST, lambda message: lost.append(int(message.payload)))
        scene.run()
        fd = scene.sockets[1].fileno()
        scene.loop.modify(fd, 0)
        claimed = []
        for number in range(count):
            scene.buses[3].publish("t", number.to_bytes(4, "big") + bytes(size))
            scene.run(5)
        scene.buses[1].claim("k", claimed.append)
        scene.run(200)
        assert len(other.payloads) == count + 1
        assert [record.event.name for record in scene.told] == ["bus_dropped"]
        scene.loop.modify(fd, 1)
        scene.run(1000)
        numbers = [int.from_bytes(payload[:4], "big") for payload in slow.payloads[1:]]
        assert numbers == list(range(len(numbers)))  # the first ones, in order
        assert sum(lost) == count - len(numbers) > 0
        assert claimed == [True]
        scene.buses[3].publish("t", b"after")
        scene.run()
        assert slow.payloads[-1] == b"after"


def test_messages_are_counted_by_who_has_published_them_and_whom_they_are_for():
    with connected() as scene:
        heard = [Subscriber(scene.buses[each], "t") for each in (1, 2, 2)]
        scene.run()
        for number in range(5):
            scene.buses[3].publish("t", b"%d" % number, retain=2)
            scene.buses[3].publish("nobody's", b"")
            scene.buses[1].publish("t", b"", done=lambda _: None)
        scene.buses[1].claim("k", lambda _: None)  # is no message, nor are the answers
        Subscriber(scene.buses[3], "u")
        scene.run()
        heard.append(Subscriber(scene.buses[3], "t"))  # what is retained
        scene.run()
        assert [len(each.payloads) for each in heard] == [11, 11, 11, 3]
        assert scene.counts == {
            1: {"published": 5, "delivered": 10},
            2: {"delivered": 10},
            3: {"published": 10, "delivered": 2},
        }
        scene.buses[1].publish("t", b"last")
        scene.buses[1].flush()
        scene.kill(1)
        scene.run()
        assert (scene.counts[1]["published"], scene.counts[2]["delivered"]) == (6, 11)


def test_messages_that_are_dropped_are_counted_as_often_as_they_are_told():
    with connected() as scene:
        lost: list[int] = []
        hearer = Subscriber(scene.buses[1], "t")
        scene.buses[1].subscribe(BUS_LOST, lambda message: lost.append(int(message.payload)))
        scene.run()
        scene.loop.modify(scene.sockets[1].fileno(), 0)
        for _ in range(30):
            scene.buses[3].publish("t", bytes(500_000))
            scene.run(5)
        counts = scene.counts[1]
        assert counts["delivered"] + counts["dropped"] == scene.counts[3]["published"] == 30
        assert counts["dropped"] > 0
        scene.loop.modify(scene.sockets[1].fileno(), 1)
        scene.run(1000)
        assert len(hearer.payloads) == 1 + counts["delivered"]
        assert sum(lost) == counts["dropped"]


@pytest.mark.parametrize("reads", [True, False])
def test_one_that_sends_rubbish_is_cut_off_and_the_others_go_on(reads):
    with connected() as scene:
        hearer, left = Subscriber(scene.buses[2], "t"), Subscriber(scene.buses[2], BUS_LEFT)
        Subscriber(scene.buses[1], "t")
        scene.run()
        scene.buses[1].claim("k", lambda _: None)
        scene.run()
        if not reads:
            scene.loop.modify(scene.sockets[1].fileno(), 0)
            for _ in range(8):
                scene.buses[3].publish("t", bytes(500_000))
                scene.run()
        scene.sockets[1].send(b"\xff" * 100)
        scene.run()
        for _ in range(8):
            scene.buses[3].publish("t", bytes(500_000))
            scene.run()
        scene.buses[3].publish("t", b"end")
        scene.run()
        assert hearer.payloads[-1] == b"end"
        assert left.payloads == ["ready", b"1"]
        got = []
        scene.buses[2].claim("k", got.append)
        scene.run()
        assert got == [True]
        scene.kill(1)
        scene.run()
        assert left.payloads == ["ready", b"1"]


def test_frames_that_only_the_hub_sends_do_nothing():
    with connected() as scene:
        hearer = Subscriber(scene.buses[2], "t")
        scene.run()
        for kind in (Kind.MESSAGE, Kind.RETAINED, Kind.SUBSCRIBED, Kind.OWNED, Kind.LOST, 0, 99):
            scene.sockets[1].send(Frame(kind, 1, b"t", b"x").pack())
        scene.run()
        assert hearer.payloads == ["ready"]


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab"), st.integers(0, 3))))
def test_each_topic_has_one_order_for_all(steps):
    with connected() as scene:
        hearers = {
            (member, topic): Subscriber(bus, topic)
            for member, bus in scene.buses.items()
            for topic in "ab"
        }
        scene.run()
        for number, (member, topic, turns) in enumerate(steps):
            scene.buses[member].publish(topic, b"%d %d" % (member, number))
            scene.run(turns)
        scene.run()
        for topic in "ab":
            one, *others = [hearers[member, topic].payloads for member in scene.buses]
            assert others == [one, one]
            assert len(one) == 1 + sum(each == topic for _, each, _ in steps)
            for member in scene.buses:
                mine = [payload for payload in one[1:] if payload.startswith(b"%d " % member)]
                assert mine == sorted(mine, key=lambda payload: int(payload.split()[1]))


def test_a_turn_passes_on_so_much_and_goes_on_in_the_next_with_nobody_left_behind():
    with connected() as scene:
        hearers = [Subscriber(bus, "t") for bus in scene.buses.values()]
        scene.run()
        for member in (1, 2):
            for number in range(2_000):
                scene.buses[member].publish("t", b"%d %d" % (member, number))
            scene.buses[member].flush()
        turns, before = [], 0
        while before < 4_000:
            scene.loop.run_once(0)  # what is left wakes the loop again
            scene.router.pass_on()
            scene.loop.run_once(0)
            heard = len(hearers[0].heard) - 1
            turns.append(heard - before)
            before = heard
        assert max(turns) < 300
        first = hearers[0].payloads[1:1_000]
        assert {payload[:1] for payload in first} == {b"1", b"2"}  # in turns
        scene.run(40)
        assert hearers[1].payloads == hearers[2].payloads == hearers[0].payloads


def test_what_a_worker_has_said_before_its_end_comes_though_it_is_more_than_a_turn_takes():
    with connected() as scene:
        hearer = Subscriber(scene.buses[2], "t")
        scene.run()
        for _ in range(5_000):
            scene.buses[1].publish("t", b"x")
        scene.buses[1].flush()
        scene.kill(1)
        scene.run(60)
        assert len(hearer.payloads) == 5_001

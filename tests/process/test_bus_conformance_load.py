"""What the page on the bus promises where there is too much, or rubbish, on each bus."""

from __future__ import annotations

import itertools
import random

import pytest

from host.bus.frames import Frame, Kind
from support.bus_world import live, more_members, subscribed

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
MIB = 1_048_576


def test_messages_may_have_a_mebibyte(bus_world):
    hearers = subscribed(bus_world, "t")
    payloads = [random.Random(number).randbytes(MIB) for number in range(4)]
    answers = []
    with pytest.raises(ValueError, match="1048576 at most"):
        bus_world.members[0].bus.publish("t", bytes(MIB + 1))
    for number, payload in enumerate(payloads):
        member = bus_world.members[number % 2]
        assert member.bus.publish("t", payload, retain=4, done=answers.append)
        bus_world.until(lambda: len(answers) > number)  # noqa: B023
    bus_world.settle()
    late = subscribed(bus_world, "t")
    for hearer in (*hearers, *late):
        assert [payload for _, _, payload in live(hearer)] == payloads


def test_names_may_have_512_bytes(bus_world):
    topic = "ö" * 256
    hearers = subscribed(bus_world, topic)
    answers = []
    bus_world.members[0].bus.publish(topic, b"x")
    bus_world.members[0].bus.claim(topic, answers.append)
    bus_world.members[0].bus.table(topic).set(topic, b"x", answers.append)
    bus_world.until(lambda: len(answers) == 2)
    bus_world.settle()
    assert answers == [True, True]
    assert [hearer.payloads for hearer in hearers] == [["ready", b"x"]] * 2


def test_what_is_too_much_is_refused_and_everything_else_arrives_once(bus_world):
    """Nothing is heard of what was refused, and later there is room again."""
    hearers, answers, taken = subscribed(bus_world, "t"), [], []
    one = bus_world.members[0]
    for _round in range(2):
        for number in itertools.count(len(answers)):
            payload = b"%d " % number + bytes(100_000)
            is_taken = one.bus.publish("t", payload, done=answers.append)
            taken.append(is_taken)
            if not is_taken:
                break
            assert number < 1000
        bus_world.until(lambda: len(answers) == len(taken))
        bus_world.settle()
    assert taken.count(False) == 2
    # A refusal is told in the next turn, before the answers to what was published before it.
    assert sorted(answers) == sorted(taken)
    wanted = [b"%d" % number for number, is_taken in enumerate(taken) if is_taken]
    for hearer in hearers:
        assert [payload.split(b" ")[0] for _, _, payload in live(hearer)] == wanted
    assert not any(member.told for member in bus_world.members)


def test_a_member_that_does_not_keep_up_is_told_how_many_messages_it_has_lost(bus_world):
    one, slow = bus_world.members
    heard = []
    for topic in ("t", "bus.lost"):
        slow.bus.subscribe(topic, lambda each: heard.append((each.topic, each.payload[:8])))
    quick = subscribed(bus_world, "t")[0]
    slow.stall()
    for number in range(300):
        payload = b"%8d" % number + bytes(50_000)
        bus_world.until(lambda: one.bus.publish("t", payload))  # noqa: B023
        bus_world.turn()
    bus_world.until(lambda: len(live(quick)) == 300)
    slow.go_on()
    bus_world.until(lambda: slow.told)
    bus_world.settle()
    assert one.told == []
    assert len(live(quick)) == 300
    expected = 0
    for topic, payload in heard:
        if topic == "bus.lost":
            expected += int(payload)
        else:
            assert int(payload) == expected
            expected += 1
    assert expected == 300
    assert 0 < sum(topic == "t" for topic, _ in heard) < 300


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 100,
        b"\xff" * 1000,
        Frame(Kind.TABLE, 1, b"t", b"no question").pack(),
    ],
)
def test_a_member_that_sends_rubbish_is_cut_off_and_nobody_else(bus_world, rubbish):
    more_members(bus_world, 1)
    one, other, bad = bus_world.members
    answers = []
    bad.bus.claim("k", answers.append)
    bus_world.until(lambda: answers)
    bad.stall()
    bad.sock.send(rubbish)
    name = bad.bus.member
    bus_world.until(lambda: name in one.left and name in other.left)
    one.bus.claim("k", answers.append)
    host = next(host for host in bus_world.hosts if bad.number in host.members)
    host.kill(bad)
    bus_world.settle()
    bus_world.until(lambda: len(answers) == 2)
    assert answers == [True, True]
    assert one.left == other.left == [name]


def test_frames_that_nobody_knows_do_no_harm(bus_world):
    one, other = bus_world.members
    hearers = subscribed(bus_world, "t")
    for kind in (0, 31, *range(32, 128), 255):
        one.bus.flush()
        one.sock.send(Frame(kind, 7, b"t", b"x" * 20).pack())
    other.bus.publish("t", b"hello")
    bus_world.settle()
    assert [hearer.payloads for hearer in hearers] == [["ready", b"hello"]] * 2

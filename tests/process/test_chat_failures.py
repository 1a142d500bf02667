"""The chat when workers die, hang and leave, and when users do not read."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from host.testing.machine import Stopwatch
from support.address import connect
from support.chat_hosts import FAST
from support.hosting import Start, eventually, freeze, thaw
from support.talkers import Client, People, slots_of

pytestmark = [pytest.mark.process, pytest.mark.warm]


@pytest.fixture
def people() -> Iterator[People]:
    with ExitStack() as stack:
        yield People(stack)


def test_when_a_worker_is_killed_its_users_leave_within_a_second_and_their_nicks_are_free(
    start: Start, people: People
) -> None:
    host = start(plugin="chat", workers=3, settings=FAST)
    crowd = people(host, 21, "#lobby")
    slots = slots_of(host, crowd)
    victim = slots[0]
    dead = [number for number, slot in enumerate(slots) if slot == victim]
    alive = [client for number, client in enumerate(crowd) if number not in dead]
    assert 0 < len(dead) < 21
    mark = host.mark()
    watch = Stopwatch()
    os.kill(host.workers[victim], signal.SIGKILL)
    for client in alive:
        for number in dead:
            client.wait_for(rf"-- u{number} has quit \(connection lost\)")
    lasted = watch.seconds
    print(f"{len(alive)} users were told of {len(dead)} within {lasted * 1000:.0f} ms")
    assert lasted < watch.scaled(1.0)
    for client, number in zip(alive, dead, strict=False):
        client.ask(f"/nick U{number}", rf"-- \w+ is now U{number}$")
    host.wait_for("worker_ready", since=mark, slot=victim)
    # The replacement knows who is there, and whoever comes to it is known.
    newcomers = people(host, 6, "#lobby", name="new")
    assert victim in slots_of(host, newcomers)
    expected = sorted(
        client.ask("/nick", r"-- you are (\w+)").group(1) for client in alive + newcomers
    )
    for client in alive + newcomers:
        names = client.ask("/who", r"-- #lobby: (.*)").group(1)
        assert sorted(names.split(", ")) == expected


def test_killing_again_and_again_leaves_no_ghosts(start: Start, people: People) -> None:
    host = start(plugin="chat", workers=2, settings=FAST)
    for turn in range(6):
        crowd = people(host, 8, "#lobby", name=f"t{turn}x")
        slot = turn % 2
        slots = slots_of(host, crowd)
        survivors = [client for client, own in zip(crowd, slots, strict=True) if own != slot]
        mark = host.mark()
        os.kill(host.workers[slot], signal.SIGKILL)
        host.wait_for("worker_ready", since=mark, slot=slot)
        (probe,) = people(host, 1, name=f"probe{turn}x")
        expected = {client.ask("/nick", r"-- you are (\w+)").group(1) for client in survivors}

        def settled(probe: Client = probe, expected: set[str] = expected) -> bool:
            names = probe.ask("/who #lobby", r"-- #lobby: (.*)").group(1)
            return set(names.split(", ")) == expected

        eventually(settled, "only survivors are in the room")
        for client in [*crowd, probe]:
            client.sock.close()
        (last,) = people(host, 1, name="last")
        eventually(
            lambda last=last: (
                last.ask("/who #lobby", r"-- #lobby.*").group() == "-- #lobby is empty"
            ),
            "the room is empty",
        )
        last.sock.close()


def test_a_slow_reader_costs_the_others_nothing_and_is_closed(start: Start, people: People) -> None:
    host = start(plugin="chat", workers=2, settings=FAST)
    crowd = people(host, 10, "#lobby")
    slow, talker, others = crowd[0], crowd[1], crowd[2:]
    text, longest, count, watch = "x" * 1900, 0.0, 0, Stopwatch()
    gone = f"-- {slow.ask('/nick', '-- you are (.*);').group(1)} has quit (does not read)"
    while gone not in talker.lines:
        began = time.monotonic()
        talker.ask(f"{text} {count}", rf"\[#lobby\] u1: x+ {count}$")
        longest = max(longest, time.monotonic() - began)
        count += 1
        for other in others:
            other.receive(0)
        assert count < 20_000, "it is never closed"
    print(f"closed after {count} messages of {len(text)} bytes; longest {longest * 1000:.1f} ms")
    assert longest < watch.scaled(0.5)
    for other in others:
        other.wait_for(rf"\[#lobby\] u1: x+ {count - 1}$")
        other.wait_for(re.escape(gone))
        assert len(other.said) == count
    # What was sent to it before it was closed is still there, and the last line says why.
    assert slow.until_closed()[-1] == "!! you do not read what you are sent: goodbye"
    assert len(slow.said) <= count
    assert host.events("bus_dropped") == []


def test_a_frozen_worker_holds_up_nobody_else(start: Start, people: People) -> None:
    host = start(plugin="chat", workers=2, settings=FAST)
    crowd = people(host, 8, "#lobby")
    frozen, *slots = slots_of(host, crowd)
    awake = [client for client, own in zip(crowd[1:], slots, strict=True) if own != frozen]
    asleep = [client for client in crowd if client not in awake]
    freeze(host.workers[frozen])
    watch = Stopwatch()
    for number in range(50):
        awake[0].ask(f"message {number}", rf"\[#lobby\] \w+: message {number}$")
    assert watch.seconds < watch.scaled(2.0)
    thaw(host.workers[frozen])
    for client in awake + asleep:
        client.wait_for(r"\[#lobby\] \w+: message 49$")
        assert client.said == awake[0].said


def test_a_worker_that_has_lost_messages_says_so_and_is_right_again(
    start: Start, people: People
) -> None:
    settings = FAST | {
        "options.chat.max_line_bytes": 65_536,
        "options.chat.history": 2,
        "options.chat.max_unsent_bytes": 16_000_000,  # all that waits for it comes at once
        "lifecycle.hang_seconds": 60,
    }
    host = start(plugin="chat", workers=2, settings=settings)
    crowd = people(host, 4, "#lobby")
    slots = slots_of(host, crowd)
    asleep, awake = crowd[slots.index(0)], crowd[slots.index(1)]
    for client in crowd:
        if client not in (asleep, awake):
            client.send("/quit")
            client.until_closed()
    freeze(host.workers[0])
    for number in range(300):  # 18 MB, of which 8 MiB wait for the frozen worker
        awake.ask(f"{'x' * 60_000} {number}", rf"\[#lobby\] \w+: x+ {number}$")
    awake.ask("/nick other", r"-- \w+ is now other$")
    host.wait_for("bus_dropped", count=1)
    thaw(host.workers[0])
    asleep.wait_for(r"!! some messages were lost")
    asleep.wait_for(r"-- \w+ is now other$")
    awake.send("after")
    asleep.wait_for(r"\[#lobby\] other: after$")
    rosters = [client.ask("/who", r"-- #lobby: .*").group() for client in (asleep, awake)]
    assert rosters[0] == rosters[1]
    late = people(host, 2, "#lobby", name="late")
    assert sorted(slots_of(host, late)) == [0, 1]
    for client in late:
        numbers = [line.rpartition(" ")[2] for line in client.said]
        assert numbers == ["299", "after"]


def test_everyone_is_sent_a_goodbye_when_the_host_stops(start: Start, people: People) -> None:
    settings = FAST | {"options.chat.goodbye": "Good night."}
    host = start(plugin="chat", workers=2, settings=settings)
    crowd = people(host, 20, "#lobby")
    waiting = [connect(host.address) for _ in range(3)]
    assert host.stop() == 0
    for client in crowd:
        lines = client.until_closed()
        assert "-- Good night." in lines
    for sock in waiting:
        sock.close()


def test_users_of_a_worker_that_leaves_get_a_goodbye_and_the_others_hear_of_it(
    start: Start, people: People
) -> None:
    host = start(plugin="chat", workers=2, settings=FAST)
    crowd = people(host, 10, "#lobby")
    slots = slots_of(host, crowd)
    leaving = slots[0]
    gone = [client for client, own in zip(crowd, slots, strict=True) if own == leaving]
    left = [client for client in crowd if client not in gone]
    os.kill(host.workers[leaving], signal.SIGTERM)
    for client in gone:
        assert client.until_closed()[-1] == "-- The server is going down; see you soon."
    for client in left:
        client.wait_for(r"-- u0 has quit \(server going down\)")
    left[0].ask("/nick u0", r"-- \w+ is now u0$")

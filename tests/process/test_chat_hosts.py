"""The chat over two hosts and a real broker, when one of the three goes or is cut off."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from host.testing.machine import Stopwatch
from support.chat_hosts import ChatHosts
from support.hosting import Start, eventually, reload
from support.talkers import Client, People, slots_of

pytestmark = [pytest.mark.process, pytest.mark.warm]

SHORT = {"bus.lease_seconds": 2}
SILENCE = r"!! no word from the other servers: what you say is passed on as soon as they answer"
BACK = r"-- the other servers answer again"


@pytest.fixture
def people() -> Iterator[People]:
    with ExitStack() as stack:
        yield People(stack)


@pytest.fixture
def make(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ChatHosts]]:
    with ExitStack() as stack:

        def make(*, keeps: bool = False) -> ChatHosts:
            made = ChatHosts(start, tmp_path_factory.mktemp("redis"), keeps=keeps)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def chats(make: Callable[..., ChatHosts]) -> ChatHosts:
    return make()


def who(client: Client, room: str = "#lobby") -> set[str]:
    """Return who is in a room, as a user is told."""
    found = client.ask(f"/who {room}", rf"-- {room}(?:: (.*)| is empty)").group(1)
    return set(found.split(", ")) if found else set()


def until_all_see(clients: list[Client], names: set[str]) -> None:
    """Wait until all users are told that these are in the lobby."""
    for client in clients:
        eventually(lambda client=client: who(client) == names, f"{sorted(names)} are there", 20.0)


def notice_silence(clients: list[Client]) -> None:
    """Have each user say something, whose worker notices then that nobody answers."""
    for client in clients:
        client.send("is anybody there?")
    for client in clients:
        client.wait_for(SILENCE)


def exchange(clients: list[Client], text: str) -> None:
    """Have each user say something that all hear."""
    for number, client in enumerate(clients):
        client.send(f"{text} {number}")
    for client in clients:
        for number in range(len(clients)):
            client.wait_for(rf"\[#lobby\] \w+: {text} {number}$", seconds=20.0)


def test_private_messages_nicks_and_history_are_those_of_all_hosts(
    chats: ChatHosts, people: People
) -> None:
    hosts = chats()
    ada, bob, carl = people(hosts, 3, "#lobby")
    ada.send("/msg u1 psst")
    bob.wait_for(r"\[from u0\] psst$")
    bob.ask("/nick U0", r"!! U0 is taken: try another nick")
    ada.ask("/nick ada", r"-- u0 is now ada$")
    bob.wait_for(r"-- u0 is now ada$")
    bob.ask("/nick U0", r"-- u1 is now U0$")
    exchange([ada, bob, carl], "hello")
    assert ada.said == bob.said == carl.said
    for number in (0, 1):
        (late,) = people(hosts[number], 1, "#lobby", name=f"late{number}x")
        assert late.said == ada.said
        assert late.ask("/rooms", r"-- rooms: (.*)").group(1) == f"#lobby ({4 + number})"
    until_all_see([ada, bob], {"ada", "U0", "u2", "late0x0", "late1x0"})


def test_users_of_a_host_that_is_killed_have_quit_when_its_lease_is_over(
    chats: ChatHosts, people: People
) -> None:
    hosts = chats(SHORT)
    crowd = people(hosts, 8, "#lobby")
    alive, dead = crowd[0::2], [f"u{number}" for number in range(1, 8, 2)]
    watch = Stopwatch()
    os.kill(hosts[1].pid, signal.SIGKILL)
    for client in alive:
        for name in dead:
            client.wait_for(rf"-- {name} has quit \(connection lost\)", seconds=20.0)
    print(f"told of the users of a dead host within {watch.seconds:.2f} s; its lease is 2 s")
    assert who(alive[0]) == {"u0", "u2", "u4", "u6"}
    for client, name in zip(alive, dead, strict=True):
        client.ask(f"/nick {name}", rf"-- \w+ is now {name}$")
    exchange(alive, "still here")


def test_a_host_that_stops_says_goodbye_for_its_users_and_their_nicks_are_free(
    chats: ChatHosts, people: People
) -> None:
    hosts = chats()
    crowd = people(hosts, 4, "#lobby")
    assert hosts[1].stop() == 0
    for client in crowd[0::2]:
        for name in ("u1", "u3"):
            client.wait_for(rf"-- {name} has quit \(server going down\)")
    crowd[0].ask("/nick u1", r"-- u0 is now u1$")
    until_all_see(crowd[0::2], {"u1", "u2"})


def test_a_partition_shorter_than_the_lease_is_a_pause(chats: ChatHosts, people: People) -> None:
    chats()
    crowd = people(chats.hosts, 4, "#lobby")
    chats.cut_off(1)
    crowd[0].send("from here")
    notice_silence(crowd[1::2])
    crowd[1].ask("/nick x", r"!! no word from the other servers: try another nick later")
    crowd[1].ask("/join #new", r"!! no word from the other servers: enter #new later")
    assert who(crowd[1]) == {"u0", "u1", "u2", "u3"}
    chats.connect(1)
    for client in crowd:
        client.wait_for(r"\[#lobby\] u0: from here$")
        client.wait_for(r"\[#lobby\] u1: is anybody there\?$")
        client.wait_for(r"\[#lobby\] u3: is anybody there\?$")
    for client in crowd[1::2]:
        client.wait_for(BACK)
    exchange(crowd, "after")
    assert all(client.said == crowd[0].said for client in crowd)
    assert not any(" has quit " in line for client in crowd for line in client.lines)


def test_after_a_partition_longer_than_the_lease_all_are_counted_and_nicks_have_one_owner(
    chats: ChatHosts, people: People
) -> None:
    hosts = chats(SHORT)
    crowd = people(hosts, 8, "#lobby")
    here, there = crowd[0::2], crowd[1::2]
    chats.cut_off(1)
    for client in here:
        for name in ("u1", "u3", "u5", "u7"):
            client.wait_for(rf"-- {name} has quit \(connection lost\)", seconds=20.0)
    here[0].ask("/nick U3", r"-- u0 is now U3$")
    chats.connect(1)
    there[1].wait_for(r"!! u3 belongs to somebody else by now", seconds=20.0)
    guest = there[1].wait_for(r"-- u3 is now (guest\d+)$").group(1)
    names = {"U3", "u1", "u2", guest, "u4", "u5", "u6", "u7"}
    until_all_see(crowd, names)
    for client in here:
        client.wait_for(rf"-- {guest} has joined #lobby")
    for client in (there[0], there[2], there[3]):  # on its own worker, or on the other one
        client.wait_for(rf"-- (u3 is now {guest}$|{guest} has joined #lobby)")
    exchange(crowd, "again")
    there[1].ask("/nick u3", r"!! u3 is taken: try another nick")
    there[0].ask("/msg u3 hello", r"\[to U3\] hello")
    here[0].wait_for(r"\[from u1\] hello")
    here[1].ask("/nick u1", r"!! u1 is taken: try another nick")


def test_a_host_that_comes_back_after_its_lease_loses_nobody_if_nothing_collides(
    chats: ChatHosts, people: People
) -> None:
    hosts = chats(SHORT)
    crowd = people(hosts, 4, "#lobby")
    for turn in range(2):
        chats.cut_off(1)
        chats.wait_until_dead(1)
        chats.connect(1)
        until_all_see(crowd, {"u0", "u1", "u2", "u3"})
        exchange(crowd, f"turn {turn}")
    assert not any("belongs to" in line for client in crowd for line in client.lines)


def test_a_reload_of_one_host_is_none_of_the_others_business(
    chats: ChatHosts, people: People
) -> None:
    hosts = chats(SHORT)
    crowd = people(hosts, 6, "#lobby")
    here, there = crowd[0::2], crowd[1::2]
    reload(hosts[1])
    for client in there:
        assert client.until_closed()[-1] == "-- The server is going down; see you soon."
    for client in here:
        for name in ("u1", "u3", "u5"):
            client.wait_for(rf"-- {name} has quit \(server going down\)")
    exchange(here, "meanwhile")
    again = people(hosts[1], 3, "#lobby", name="again")
    until_all_see(here + again, {"u0", "u2", "u4", "again0", "again1", "again2"})
    exchange(here + again, "all")
    assert not any("messages were lost" in line for client in here for line in client.lines)
    again[0].ask("/nick u1", r"-- again0 is now u1$")


@pytest.mark.parametrize("keeps", [False, True], ids=["empty", "with its data"])
def test_the_broker_starts_again(
    make: Callable[..., ChatHosts], people: People, keeps: bool
) -> None:
    chats = make(keeps=keeps)
    hosts = chats()
    crowd = people(hosts, 6, "#lobby")
    exchange(crowd, "before")
    chats.redis.end()
    notice_silence(crowd)
    mark = [host.mark() for host in hosts]
    if not keeps:
        chats.redis.forget()
    chats.redis.start()
    chats.let_in()
    for host, since in zip(hosts, mark, strict=True):
        host.wait_for("bus_connected", since=since, seconds=20.0)
    for client in crowd:
        client.wait_for(BACK, seconds=20.0)
        client.wait_for(r"!! some messages were lost", seconds=20.0)
    until_all_see(crowd, {f"u{number}" for number in range(6)})
    exchange(crowd, "after")
    crowd[0].ask("/nick u1", r"!! u1 is taken: try another nick")
    crowd[1].ask("/nick u0", r"!! u0 is taken: try another nick")
    (late,) = people(hosts[0], 1, "#lobby", name="late")
    assert [line for line in late.said if "after" in line] == [
        line for line in crowd[1].said if "after" in line
    ]


def test_a_broker_that_hangs_takes_no_users_away(chats: ChatHosts, people: People) -> None:
    hosts = chats()
    crowd = people(hosts, 4, "#lobby")
    with chats.redis.paused():
        crowd[0].send("hello?")
        crowd[0].wait_for(SILENCE)
        crowd[0].ask("/nick x", r"!! no word from the other servers: try another nick later")
        assert who(crowd[0]) == {"u0", "u1", "u2", "u3"}
    crowd[0].wait_for(BACK, seconds=20.0)
    exchange(crowd, "after")
    for client in crowd:
        assert sum("hello?" in line for line in client.said) == 1


def test_a_worker_that_dies_is_missed_on_the_other_host_at_once(
    chats: ChatHosts, people: People
) -> None:
    hosts = chats()
    crowd = people(hosts, 12, "#lobby")
    slots = slots_of(hosts[1], crowd[1::2])
    dead = [2 * number + 1 for number, slot in enumerate(slots) if slot == slots[0]]
    alive = [client for number, client in enumerate(crowd) if number not in dead]
    os.kill(hosts[1].workers[slots[0]], signal.SIGKILL)
    for client in alive:
        for number in dead:
            client.wait_for(rf"-- u{number} has quit \(connection lost\)")
    crowd[0].ask(f"/nick u{dead[0]}", rf"-- u0 is now u{dead[0]}$")
    exchange(alive, "on")

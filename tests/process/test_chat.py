"""The chat over real sockets and workers: what a crowd of scripted clients, nc and telnet see."""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from host.testing.machine import patience
from support.address import connect
from support.chat_hosts import FAST, ChatHosts
from support.hosting import Host, Start, eventually
from support.talkers import Client, People, slots_of
from support.targets import parse

pytestmark = [pytest.mark.process, pytest.mark.warm]


@pytest.fixture
def people() -> Iterator[People]:
    with ExitStack() as stack:
        yield People(stack)


@pytest.fixture
def chats(
    request: pytest.FixtureRequest, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChatHosts]:
    """As many hosts as `over_hosts` says."""
    made = ChatHosts(start, tmp_path_factory.mktemp("redis"), request.param)
    yield made
    made.close()


over_hosts = pytest.mark.parametrize("chats", [1, 2], indirect=True, ids=["1 host", "2 hosts"])


def places_of(hosts: list[Host], clients: list[Client]) -> list[tuple[int, int]]:
    """Return for each client the numbers of its host and of the slot there."""
    found: list[tuple[int, int]] = [(0, 0)] * len(clients)
    for number, host in enumerate(hosts):
        slots = slots_of(host, clients[number :: len(hosts)])
        found[number :: len(hosts)] = [(number, slot) for slot in slots]
    return found


@over_hosts
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_crowd_over_all_workers_sees_the_same_in_the_same_order(
    chats: ChatHosts, people: People, workers: int
) -> None:
    hosts = chats(workers=workers)
    crowd = people(hosts, 40, "#lobby")
    assert len(set(places_of(hosts, crowd))) == workers * len(hosts)
    chosen = random.Random(4)
    for number in range(300):
        chosen.choice(crowd).send(f"message {number}")
    for client in crowd:
        for _ in range(300):
            if len(client.said) < 300:
                assert client.receive(10.0), f"only {len(client.said)} messages came"
    # Whoever joined first has seen all joins and all messages; the others a part of the same.
    orders = [client.said for client in crowd]
    assert sorted(int(line.rpartition(" ")[2]) for line in orders[0]) == list(range(300))
    assert all(order == orders[0] for order in orders)
    for client in crowd:
        names = client.ask("/who", r"-- #lobby: (.*)").group(1)
        assert sorted(names.split(", ")) == sorted(f"u{number}" for number in range(40))
        assert client.ask("/rooms", r"-- rooms: (.*)").group(1) == "#lobby (40)"


@over_hosts
def test_a_room_on_one_worker_is_none_of_the_others_business(
    chats: ChatHosts, people: People
) -> None:
    hosts = chats(workers=3)
    ones, others = people(hosts, 5, "#one"), people(hosts, 5, "#other", name="v")
    ones[0].send("for us only")
    others[0].send("for them only")
    for client in ones:
        client.wait_for(r"\[#one\] u0: for us only")
    for client in others:
        client.wait_for(r"\[#other\] v0: for them only")
    assert all(len(client.said) == 1 for client in ones + others)
    ones[1].send("/msg V3 psst")
    others[3].wait_for(r"\[from u1\] psst")
    ones[1].wait_for(r"\[to v3\] psst")


@over_hosts
def test_one_of_two_gets_the_nick_however_close_the_race(chats: ChatHosts, people: People) -> None:
    hosts = chats(workers=2)
    clients = people(hosts, 4)
    places = places_of(hosts, clients)
    pair = [clients[0], clients[places.index(next(each for each in places if each != places[0]))]]
    for turn in range(50):
        begin, marks = threading.Barrier(2), [len(client.lines) for client in pair]

        def claim(client: Client, nick: str, begin: threading.Barrier = begin) -> None:
            begin.wait()
            client.send(f"/nick {nick}")

        racers = [
            threading.Thread(target=claim, args=(client, nick))
            for client, nick in zip(pair, (f"Race{turn}", f"rACE{turn}"), strict=True)
        ]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        answers = [
            client.wait_for(rf"(?i)(-- \w+ is now|!!) race{turn}\b", mark).group(1)[:2]
            for client, mark in zip(pair, marks, strict=True)
        ]
        assert sorted(answers) == ["!!", "--"]


@over_hosts
def test_those_who_join_see_the_last_messages_on_every_worker(
    chats: ChatHosts, people: People
) -> None:
    hosts = chats({"options.chat.history": 5}, workers=4)
    (ada,) = people(hosts, 1, "#a", name="ada")
    for number in range(8):
        ada.ask(f"message {number}", rf"\[#a\] ada0: message {number}")
    late = people(hosts, 8 * len(hosts), "#a", name="late")
    assert len(set(places_of(hosts, late))) == 4 * len(hosts)
    for client in late:
        assert client.said == [f"[#a] ada0: message {number}" for number in range(3, 8)]


def test_limits_are_answered(start: Start, people: People) -> None:
    settings = {
        "options.chat.messages_per_second": 2,
        "options.chat.burst": 12,
        "options.chat.max_line_bytes": 100,
        "options.chat.max_rooms_per_user": 2,
        "options.chat.max_room_members": 3,
    }
    host = start(plugin="chat", workers=2, settings=settings)
    crowd = people(host, 4)
    for client in crowd[:3]:
        client.ask("/join #small", r"-- \w+ has joined #small")
    crowd[3].ask("/join #small", r"!! #small is full: 3 are in it")
    ada = crowd[0]
    ada.ask("/join #two", r"-- u0 has joined #two")
    ada.ask("/join #three", r"!! you are in 2 rooms")
    ada.ask("x" * 101, r"!! a line has 100 bytes at most")
    ada.ask("/nick not this", r"!! a nick has letters")
    ada.send(*(f"flood {number}" for number in range(40)))
    ada.wait_for(r"!! too fast: 2 lines a second")
    assert len([line for line in ada.said if "flood" in line]) < 20


@over_hosts
def test_many_who_join_at_once_fill_a_room_exactly(chats: ChatHosts, people: People) -> None:
    crowd = people(chats({"options.chat.max_room_members": 10}, workers=4), 40)
    for client in crowd:
        client.send("/join #small")
    answers = [
        client.wait_for(rf"(-- u{number} has joined|!! #small is full)").group(1)[:2]
        for number, client in enumerate(crowd)
    ]
    assert answers.count("--") == 10
    eventually(  # its worker may hear of the last one later than that one's
        lambda: crowd[0].ask("/rooms", r"-- rooms: (.*)").group(1) == "#small (10)",
        "10 are in the room",
    )


def test_bytes_of_telnet_terminals_and_no_text_at_all_harm_nobody(
    start: Start, people: People
) -> None:
    host = start(plugin="chat", workers=2, settings=FAST)
    ada, bob = people(host, 2, "#a")
    cases = [
        (b"\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0sized\r\n", "sized"),
        (b"line\r\0", "line"),
        (b"\x1b[2J\x1b[31mred\x1b[0m\r\n", "red"),
        (b"bell\x07 \x9bx \xc2\x9b2J\r\n", "bell  \ufffdx"),
        (b"caf\xe9\n", "caf\ufffd"),
        ("\u202eright to left\n".encode(), " right to left"),
        ("ünïcode ✓\n".encode(), "ünïcode ✓"),
    ]
    for sent, shown in cases:
        since = len(bob.lines)
        for byte in sent:
            ada.sock.sendall(bytes([byte]))
        bob.wait_for(re.escape(f"[#a] u0: {shown}") + r"\s*$", since)
    junk = random.Random(8)
    for _ in range(50):
        ada.sock.sendall(junk.randbytes(200))
    ada.sock.sendall(b"\n" + b"\xff\xf0" * 600 + b"\nstill here\n")
    bob.wait_for(r"\[#a\] u0: still here$")
    for line in bob.lines:
        assert line.isprintable() or "\ufffd" in line, ascii(line)
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", line), ascii(line)


def test_it_works_with_nc_at_once(start: Start, people: People) -> None:
    nc = shutil.which("nc")
    if nc is None:
        pytest.skip("there is no nc on this machine")
    host = start(plugin="chat", workers=3)
    (watcher,) = people(host, 1, "#lobby", name="watcher")
    _, (name, port) = parse(host.address)
    script = "/nick ada\n/join #lobby\nhello from a pipe\n/me waves\n/quit bye\n"
    done = subprocess.run(
        [nc, str(name), str(port)],
        input=script.encode(),
        capture_output=True,
        timeout=patience(20),
        check=True,
    )
    lines = done.stdout.decode().split("\r\n")
    assert "-- ada has joined #lobby (2 here)" in lines
    assert lines[-2] == "-- goodbye"
    watcher.wait_for(r"\[#lobby\] ada: hello from a pipe$")
    watcher.wait_for(r"\[#lobby\] \* ada waves$")
    watcher.wait_for(r"-- ada has quit \(bye\)$")


def test_what_was_sent_before_the_end_of_input_is_done(start: Start, people: People) -> None:
    host = start(plugin="chat", workers=3)
    (watcher,) = people(host, 1, "#lobby", name="watcher")
    with connect(host.address) as sock:
        sock.sendall(b"/nick ada\n/join #lobby\nhello\n")
        sock.shutdown(socket.SHUT_WR)
        watcher.wait_for(r"\[#lobby\] ada: hello$")
        watcher.wait_for(r"-- ada has quit \(connection closed\)$")
        while sock.recv(4096):
            pass

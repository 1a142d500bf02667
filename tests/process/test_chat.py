"""The chat over real sockets and workers: what a crowd of scripted clients, nc and telnet see."""

from __future__ import annotations

import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from support.address import connect, parse
from support.hosting import Host, Start, eventually, freeze, thaw
from support.processes import descriptors

pytestmark = pytest.mark.process

FAST = {"options.chat.messages_per_second": 1_000_000, "options.chat.burst": 1_000_000}


class Client:
    """A user with a script.

    Attributes:
        lines: all lines that have come so far.
    """

    def __init__(self, host: Host) -> None:
        self.sock = connect(host.address)
        self.lines: list[str] = []
        self._rest = b""
        self.ended = False
        self.nick = self.wait_for(r"-- you are (\w+)").group(1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *lines: str) -> None:
        self.sock.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def receive(self, seconds: float) -> bool:
        """Wait for more; false if none has come, or the end."""
        if self.ended or not select.select([self.sock], [], [], seconds)[0]:
            return False
        try:
            data = self.sock.recv(65_536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines += [line.decode().removesuffix("\r") for line in lines]
        return True

    def wait_for(self, pattern: str, since: int = 0, seconds: float = 10.0) -> re.Match[str]:
        """Wait for a line that matches from its beginning."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.lines[since:]:
                if found := re.match(pattern, line):
                    return found
            since = len(self.lines)
            left = deadline - time.monotonic()
            last = [line[-100:] for line in self.lines[-20:]]
            assert left > 0, f"no {pattern} within {seconds} s: {last}"
            if not self.receive(left):
                assert not self.ended, f"closed without {pattern}: {last}"

    def ask(self, line: str, pattern: str) -> re.Match[str]:
        """Send a line, and wait for an answer that comes after it."""
        since = len(self.lines)
        self.send(line)
        return self.wait_for(pattern, since)

    def until_closed(self) -> list[str]:
        while self.receive(10.0):
            pass
        assert self.ended
        return self.lines

    @property
    def said(self) -> list[str]:
        """What was said in rooms."""
        return [line for line in self.lines if line.startswith("[#")]


People = Callable[..., list[Client]]


@pytest.fixture
def people() -> Iterator[People]:
    """Connect users; they have names, and are in the rooms given."""
    with ExitStack() as stack:

        def connected(host: Host, count: int, *rooms: str, name: str = "u") -> list[Client]:
            clients = [stack.enter_context(Client(host)) for _ in range(count)]
            for number, client in enumerate(clients):
                client.ask(f"/nick {name}{number}", rf"-- \w+ is now {name}{number}$")
                for room in rooms:
                    client.ask(f"/join {room}", rf"-- {name}{number} has joined {room}")
            return clients

        yield connected


def slots_of(host: Host, clients: list[Client]) -> list[int]:
    """Return for each client the slot of the worker that serves it."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    _, (_, port) = parse(host.address)
    inodes = {
        int(row[2].rpartition(":")[2], 16): f"socket:[{row[9]}]"
        for row in rows
        if row[1].endswith(f":{int(port):04X}") and row[9] != "0"  # 0: it has ended
    }
    slots = {target: slot for slot, pid in host.workers().items() for target in descriptors(pid)}
    return [slots[inodes[client.sock.getsockname()[1]]] for client in clients]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_crowd_over_all_workers_sees_the_same_in_the_same_order(
    start: Start, people: People, workers: int
) -> None:
    host = start(plugin="chat", workers=workers, settings=FAST)
    crowd = people(host, 40, "#lobby")
    assert len(set(slots_of(host, crowd))) == workers
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


def test_a_room_on_one_worker_is_none_of_the_others_business(start: Start, people: People) -> None:
    host = start(plugin="chat", workers=3, settings=FAST)
    ones, others = people(host, 5, "#one"), people(host, 5, "#other", name="v")
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


def test_one_of_two_gets_the_nick_however_close_the_race(start: Start, people: People) -> None:
    host = start(plugin="chat", workers=2, settings=FAST)
    clients = people(host, 4)
    slots = slots_of(host, clients)
    pair = [clients[slots.index(0)], clients[slots.index(1)]]
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


def test_those_who_join_see_the_last_messages_on_every_worker(start: Start, people: People) -> None:
    settings = FAST | {"options.chat.history": 5}
    host = start(plugin="chat", workers=4, settings=settings)
    (ada,) = people(host, 1, "#a", name="ada")
    for number in range(8):
        ada.ask(f"message {number}", rf"\[#a\] ada0: message {number}")
    late = people(host, 8, "#a", name="late")
    assert len(set(slots_of(host, late))) == 4
    for client in late:
        assert client.said == [f"[#a] ada0: message {number}" for number in range(3, 8)]


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
    began = time.monotonic()
    os.kill(host.workers()[victim], signal.SIGKILL)
    for client in alive:
        for number in dead:
            client.wait_for(rf"-- u{number} has quit \(connection lost\)")
    lasted = time.monotonic() - began
    print(f"{len(alive)} users were told of {len(dead)} within {lasted * 1000:.0f} ms")
    assert lasted < 1.0
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
        os.kill(host.workers()[slot], signal.SIGKILL)
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
    host = start(plugin="chat", workers=2, settings=FAST | {"connection.write_timeout_seconds": 2})
    crowd = people(host, 10, "#lobby")
    slow, talker, others = crowd[0], crowd[1], crowd[2:]
    text, longest, count = "x" * 1900, 0.0, 0
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
    assert longest < 0.5
    for other in others:
        other.wait_for(rf"\[#lobby\] u1: x+ {count - 1}$")
        other.wait_for(re.escape(gone))
        assert len(other.said) == count
    # What was sent to it before is still there, and the last line says why.
    received = slow.until_closed()
    assert len(slow.said) < count
    assert host.events("bus_dropped") == []
    assert received


def test_a_frozen_worker_holds_up_nobody_else(start: Start, people: People) -> None:
    host = start(plugin="chat", workers=2, settings=FAST)
    crowd = people(host, 8, "#lobby")
    frozen, *slots = slots_of(host, crowd)
    awake = [client for client, own in zip(crowd[1:], slots, strict=True) if own != frozen]
    asleep = [client for client in crowd if client not in awake]
    freeze(host.workers()[frozen])
    began = time.monotonic()
    for number in range(50):
        awake[0].ask(f"message {number}", rf"\[#lobby\] \w+: message {number}$")
    lasted = time.monotonic() - began
    thaw(host.workers()[frozen])
    assert lasted < 2.0
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
    }
    host = start(plugin="chat", workers=2, settings=settings)
    crowd = people(host, 4, "#lobby")
    slots = slots_of(host, crowd)
    asleep, awake = crowd[slots.index(0)], crowd[slots.index(1)]
    for client in crowd:
        if client not in (asleep, awake):
            client.send("/quit")
            client.until_closed()
    freeze(host.workers()[0])
    for number in range(300):  # 18 MB, of which 8 MiB wait for the frozen worker
        awake.ask(f"{'x' * 60_000} {number}", rf"\[#lobby\] \w+: x+ {number}$")
    awake.ask("/nick other", r"-- \w+ is now other$")
    host.wait_for("bus_dropped", count=1)
    thaw(host.workers()[0])
    asleep.wait_for(r"!! the server is overloaded: some messages were lost")
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
    os.kill(host.workers()[leaving], signal.SIGTERM)
    for client in gone:
        assert client.until_closed()[-1] == "-- The server is going down; see you soon."
    for client in left:
        client.wait_for(r"-- u0 has quit \(server going down\)")
    left[0].ask("/nick u0", r"-- \w+ is now u0$")


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


def test_many_who_join_at_once_fill_a_room_exactly(start: Start, people: People) -> None:
    settings = FAST | {"options.chat.max_room_members": 10}
    host = start(plugin="chat", workers=4, settings=settings)
    crowd = people(host, 40)
    for client in crowd:
        client.send("/join #small")
    answers = [
        client.wait_for(rf"(-- u{number} has joined|!! #small is full)").group(1)[:2]
        for number, client in enumerate(crowd)
    ]
    assert answers.count("--") == 10
    assert crowd[0].ask("/rooms", r"-- rooms: (.*)").group(1) == "#small (10)"


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
        timeout=20,
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

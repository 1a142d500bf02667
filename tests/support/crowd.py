"""A crowd in the chat, for measuring: how many deliveries a second, and how late the last one is.

    python tests/support/crowd.py one     one sender, 1,000 receivers in one room
    python tests/support/crowd.py rooms   10 rooms of 100 users, all of them talking

It starts a host of its own on a free port; the crowd is this process. A delivery is one line that
has arrived at one user. A message carries the time of its sending; of what arrives at once the
oldest line is looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LIFETIME_SECONDS = 300
LIMITS = {
    "messages_per_second": "1000000",
    "burst": "1000000",
    "history": "20",
    "max_rooms_per_user": "1",
}


@dataclass(eq=False)
class Person:
    """One user."""

    number: int
    sock: socket.socket
    room: str = ""
    tail: bytes = b""
    count: int = 0
    own: int = 0
    seen: set[bytes] = field(default_factory=set)


class Crowd:
    """All users, on one epoll.

    Attributes:
        deliveries: messages that have arrived at someone.
        slowest: the longest time that a message took.
    """

    def __init__(self, port: int, count: int) -> None:
        self.epoll = select.epoll()
        self.people: dict[int, Person] = {}
        self.everyone: list[Person] = []
        self.deliveries, self.slowest = 0, 0.0
        self.on_message: Callable[[Person, int], object] = lambda _person, _count: None
        for number in range(count):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            person = Person(number, sock)
            self.people[sock.fileno()] = person
            self.everyone.append(person)
            self.epoll.register(sock, select.EPOLLIN)

    def say(self, person: Person, text: str) -> None:
        """Send a line; the kernel takes it, since little is under way."""
        person.sock.send(text.encode() + b"\n")

    def turn(self, timeout: float = 1.0) -> bool:
        """Take in what has arrived; false if nothing has within `timeout`."""
        events = self.epoll.poll(timeout)
        for fd, _ in events:
            person = self.people[fd]
            data = person.sock.recv(262_144)
            if not data:
                sys.exit(f"user {person.number} was closed: {person.tail[-200:]!r}")
            self.take(person, data)
        return bool(events)

    def take(self, person: Person, data: bytes) -> None:
        lines, _, tail = (person.tail + data).rpartition(b"\n")
        person.tail = tail
        count = lines.count(b": @")  # a message ends in : @ and the time of its sending
        if not count:
            return
        now = time.monotonic_ns()
        sent = lines[lines.index(b": @") + 3 :].split(b"\r", 1)[0]
        self.slowest = max(self.slowest, (now - int(sent)) / 1e9)
        self.deliveries += count
        person.count += count
        self.on_message(person, count)

    def message(self, person: Person) -> None:
        """Say something that can be measured."""
        self.say(person, f"@{time.monotonic_ns()}")

    def enter(self, rooms: list[str]) -> float:
        """Let everyone join a room; return how long that took."""
        began = time.monotonic()
        for person in self.everyone:
            person.room = rooms[person.number % len(rooms)]
            self.say(person, f"/join {person.room}")
        sizes = {room: sum(each.room == room for each in self.everyone) for room in rooms}
        speakers = {room: next(p for p in self.everyone if p.room == room) for room in rooms}
        while self.turn():  # until it is quiet
            pass
        for speaker in speakers.values():
            self.message(speaker)
        while self.deliveries < sum(sizes.values()):
            if not self.turn(20.0):
                sys.exit(f"only {self.deliveries} of {len(self.everyone)} have joined")
        lasted = time.monotonic() - began
        self.reset()
        return lasted

    def reset(self) -> None:
        self.deliveries, self.slowest = 0, 0.0
        for person in self.everyone:
            person.count = 0

    def until(self, wanted: int) -> float:
        """Take in until so many deliveries have come; return how long that took."""
        began = time.monotonic()
        while self.deliveries < wanted:
            if not self.turn(20.0):
                sys.exit(f"only {self.deliveries} of {wanted} deliveries came")
        return time.monotonic() - began

    def report(self, what: str, messages: int, seconds: float) -> None:
        rate = self.deliveries / seconds
        print(
            f"{what}: {messages} messages, {self.deliveries} deliveries in {seconds:.2f} s: "
            f"{rate:,.0f} a second, slowest {self.slowest * 1000:.1f} ms",
            flush=True,
        )
        self.reset()


def one(crowd: Crowd, arguments: argparse.Namespace) -> None:
    """One sender: first at a pace, then as fast as it goes with a few messages under way."""
    size = len(crowd.everyone)
    print(f"{size} users in one room within {crowd.enter(['#all']):.2f} s")
    sender = crowd.everyone[0]
    pace, count = 0.05, arguments.messages // 10
    began = time.monotonic()
    for number in range(count):
        crowd.message(sender)
        while (left := began + (number + 1) * pace - time.monotonic()) > 0:
            crowd.turn(left)
    crowd.until(count * size)
    crowd.report(f"one message each {pace * 1000:.0f} ms", count, time.monotonic() - began)

    sent = 0

    def more(person: Person, count: int) -> None:
        nonlocal sent
        if person is sender:
            for _ in range(min(count, arguments.messages - sent)):
                crowd.message(sender)
                sent += 1

    crowd.on_message = more
    began = time.monotonic()
    more(sender, arguments.window)
    crowd.until(arguments.messages * size)
    crowd.report(f"{arguments.window} under way", sent, time.monotonic() - began)


def rooms(crowd: Crowd, arguments: argparse.Namespace) -> None:
    """All talk: first each once a second, then each as soon as its last message has come back."""
    names = [f"#room{number}" for number in range(arguments.rooms)]
    size = len(crowd.everyone) // len(names)
    print(f"{len(names)} rooms of {size} within {crowd.enter(names):.2f} s")
    seconds, began = arguments.seconds, time.monotonic()
    step = 1.0 / len(crowd.everyone)
    for number in range(seconds * len(crowd.everyone)):
        while (left := began + number * step - time.monotonic()) > 0:
            crowd.turn(left)
        crowd.message(crowd.everyone[number % len(crowd.everyone)])
    messages = seconds * len(crowd.everyone)
    crowd.until(messages * size)
    crowd.report("each once a second", messages, time.monotonic() - began)

    said = 0
    behind = dict.fromkeys(crowd.everyone, 0)

    def answer(person: Person, count: int) -> None:
        """Speak again when as many messages have come as there are people in the room."""
        nonlocal said
        behind[person] += count
        if behind[person] >= size and said < messages:
            behind[person] -= size
            crowd.message(person)
            said += 1

    crowd.on_message = answer
    began = time.monotonic()
    for person in crowd.everyone:
        crowd.message(person)
        said += 1
    while crowd.turn(1.0):
        lasted = time.monotonic() - began
    crowd.report("each as soon as everyone has", said, lasted)


def start_host(workers: int, python: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a host; return it and its port."""
    flags = ["--plugin", "chat", "--workers", str(workers), "--listen", "tcp://127.0.0.1:0"]
    for name, value in LIMITS.items():
        flags += ["--set", f"options.chat.{name}={value}"]
    host = subprocess.Popen(
        [python, "-m", "host", *flags, "--log-format", "json"], stderr=subprocess.PIPE
    )
    assert host.stderr is not None
    port = 0
    for line in host.stderr:
        event = json.loads(line)
        if event["event"] == "listening":
            port = int(event["address"].rpartition(":")[2])
        if event["event"] == "host_ready":
            return host, port
    sys.exit("the host did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["one", "rooms"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--rooms", type=int, default=10)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    signal.alarm(LIFETIME_SECONDS)
    host, port = start_host(arguments.workers, sys.executable)
    try:
        crowd = Crowd(port, arguments.users + (arguments.what == "one"))
        {"one": one, "rooms": rooms}[arguments.what](crowd, arguments)
    finally:
        host.terminate()
        os.waitpid(host.pid, 0)


if __name__ == "__main__":
    main()

"""Hosts and a broker in network namespaces, around a router whose links a test takes down.

It takes root, and iproute2. One direction is blocked by a rule of the router: packets vanish there.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_NUMBERS = itertools.count()
_RELAY = Path(__file__).parent.parent / "storm" / "relay.py"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def become(command: Sequence[str], program: str, path: Path) -> str:
    """Write a script that becomes a program by a command that enters a network; return its path."""
    path.write_text(f'#!/bin/sh\nexec {" ".join(command)} {program} "$@"\n')
    path.chmod(0o755)
    return str(path)


class LossyNetwork:
    """A broker in one place and hosts in another, with packets that vanish in between.

    Args:
        loss: which part of all packets.
        delay_ms: how long each takes, in milliseconds.

    Attributes:
        addresses: the address of the broker.
    """

    def __init__(self, loss: float, delay_ms: float) -> None:
        plan = {"delay_ms": delay_ms, "cookies": False, "ttl": 0, "loss": loss}
        command = [sys.executable, "-I", "-S", str(_RELAY), json.dumps(plan)]
        self._relay = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._relay.stdout is not None
        self._paths = json.loads(self._relay.stdout.readline())
        self.addresses = {"broker": "10.9.0.2"}

    def enter(self, place: str) -> list[str]:
        """Return what runs a command in a place, in the same process."""
        path = self._paths["server" if place == "broker" else "clients"]
        return ["nsenter", f"--net={path}"]

    def close(self) -> None:
        """End what carries the packets."""
        assert self._relay.stdout is not None
        self._relay.kill()
        self._relay.wait()
        self._relay.stdout.close()


class Network:
    """A router, and places around it, each with one link.

    Args:
        places: their names.

    Attributes:
        addresses: the address of each place.
    """

    def __init__(self, *places: str) -> None:
        self._prefix = f"pf{os.getpid()}-{next(_NUMBERS)}"
        self._router = f"{self._prefix}-router"
        self._spaces: list[str] = []
        self.addresses: dict[str, str] = {}
        self._add(self._router)
        self._in(self._router, "link", "set", "lo", "up")
        for number, place in enumerate(places, 1):
            self._connect(place, number)
        forwarding = ("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        _ip("netns", "exec", self._router, *forwarding)

    def _add(self, space: str) -> None:
        _ip("netns", "add", space)
        self._spaces.append(space)

    def _in(self, space: str, *words: str) -> None:
        _ip("-n", space, *words)

    def _connect(self, place: str, number: int) -> None:
        space, router = self.space(place), self._router
        self._add(space)
        peer = ("type", "veth", "peer", "name", "uplink", "netns", space)
        self._in(router, "link", "add", place, *peer)
        self._in(router, "address", "add", f"10.77.{number}.1/24", "dev", place)
        self._in(router, "link", "set", place, "up")
        self._in(space, "address", "add", f"10.77.{number}.2/24", "dev", "uplink")
        for link in ("lo", "uplink"):
            self._in(space, "link", "set", link, "up")
        self._in(space, "route", "add", "default", "via", f"10.77.{number}.1")
        self.addresses[place] = f"10.77.{number}.2"

    def space(self, place: str) -> str:
        """Return the name of the namespace of a place."""
        return f"{self._prefix}-{place}"

    def enter(self, place: str) -> list[str]:
        """Return what runs a command there, in the same process."""
        return ["nsenter", f"--net=/run/netns/{self.space(place)}"]

    def down(self, place: str) -> None:
        """Take the link of a place down: nothing passes, and nobody is told."""
        self._in(self._router, "link", "set", place, "down")

    def up(self, place: str) -> None:
        """Take it up again."""
        self._in(self._router, "link", "set", place, "up")

    def block(self, source: str, sink: str) -> None:
        """Let packets from one place to another vanish; those of the other direction pass."""
        self._in(self._router, "rule", "add", *self._between(source, sink))

    def unblock(self, source: str, sink: str) -> None:
        """Let them pass again."""
        self._in(self._router, "rule", "delete", *self._between(source, sink))

    def _between(self, source: str, sink: str) -> tuple[str, ...]:
        ends = ("from", self.addresses[source], "to", self.addresses[sink])
        return ("priority", "1", *ends, "blackhole")

    def close(self) -> None:
        """Take everything away; what runs there must have ended."""
        for space in self._spaces:
            _ip("netns", "delete", space)

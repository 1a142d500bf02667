"""Hosts with the chat: one alone, or several with a real broker, of which each can be cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.hosting import Host, Start, eventually
from support.redis_server import RedisServer

FAST = {"options.chat.messages_per_second": 1_000_000, "options.chat.burst": 1_000_000}
PASSWORD = "of every host"


class ChatHosts:
    """Starts hosts that serve the chat.

    Args:
        start: the fixture.
        folder: where the broker has its data; not the test's own, in which no socket may be left.
        count: how many hosts there are; with more than one they have a broker.
        keeps: whether the broker has its data still after a restart.

    Attributes:
        hosts: those that were started.
    """

    def __init__(self, start: Start, folder: Path, count: int = 2, *, keeps: bool = False) -> None:
        self._start, self._count = start, count
        self.hosts: list[Host] = []
        self._redis: RedisServer | None = None
        if count > 1:
            self._redis = RedisServer(folder, "--appendonly", "yes" if keeps else "no")

    @property
    def redis(self) -> RedisServer:
        """The broker."""
        assert self._redis is not None
        return self._redis

    def __call__(self, settings: dict[str, Any] | None = None, **others: Any) -> list[Host]:
        """Start all hosts, each as a user of its own at the broker."""
        if self._redis is not None:
            self.let_in()
        for number in range(self._count):
            chosen = FAST | (settings or {})
            if self._redis is not None:
                user = f"host{number}"
                chosen["bus.url"] = f"redis://{user}@127.0.0.1:{self._redis.port}"
                chosen["bus.node"] = user
            env = {"PREFORK_BUS__PASSWORD": PASSWORD} if self._redis is not None else {}
            self.hosts.append(self._start(plugin="chat", settings=chosen, env=env, **others))
        if self._redis is not None:
            for host in self.hosts:
                host.wait_for("bus_connected")
        return self.hosts

    def let_in(self) -> None:
        """Have the broker know all hosts, each as a user."""
        rights = ("on", f">{PASSWORD}", "allkeys", "allchannels", "allcommands")
        for number in range(self._count):
            self.redis.ask("ACL", "SETUSER", f"host{number}", *rights)

    def cut_off(self, number: int) -> None:
        """End the connection of a host to the broker, and let it have no other."""
        user, mark = f"host{number}", self.hosts[number].mark()
        self.redis.ask("ACL", "SETUSER", user, "off")
        self.redis.ask("CLIENT", "KILL", "USER", user)
        self.hosts[number].wait_for("bus_away", since=mark)

    def connect(self, number: int) -> None:
        """Let a host have a connection again, and wait until it has one."""
        mark = self.hosts[number].mark()
        self.redis.ask("ACL", "SETUSER", f"host{number}", "on")
        self.hosts[number].wait_for("bus_connected", since=mark)

    def wait_until_dead(self, number: int) -> None:
        """Wait until the broker takes a host for dead that is cut off."""
        node = f"host{number}.".encode()

        def is_gone() -> bool:
            alive = self.redis.ask("ZRANGE", "prefork:{default}:nodes", 0, -1)
            return not any(each.startswith(node) for each in alive)

        eventually(is_gone, f"host {number} is taken for dead")

    def close(self) -> None:
        """End the broker."""
        if self._redis is not None:
            self._redis.close()

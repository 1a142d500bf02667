"""Clients in one process that send and count as fast as they can: load for servers of MQTT."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterable

from host.plugins.framing import encode_varint

_READ_BYTES = 262_144
_PATIENCE_SECONDS = 120.0


def text(value: str) -> bytes:
    """Return a text with its length."""
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def packet(first: int, body: bytes) -> bytes:
    """Return a packet."""
    return bytes((first,)) + encode_varint(len(body)) + body


def connect(client_id: str, *, clean: bool = True) -> bytes:
    """Return a CONNECT."""
    flags = bytes((4, 2 if clean else 0, 0, 0))
    return packet(0x10, text("MQTT") + flags + text(client_id))


def subscribe(name: str, qos: int) -> bytes:
    """Return a SUBSCRIBE."""
    return packet(0x82, b"\x00\x01" + text(name) + bytes((qos,)))


def publish(topic: str, payload: bytes, qos: int = 0, packet_id: int = 1) -> bytes:
    """Return a PUBLISH."""
    number = packet_id.to_bytes(2, "big") if qos else b""
    return packet(0x30 | qos << 1, text(topic) + number + payload)


class LoadClient:
    """A connection that counts packets, and confirms those with QoS 1.

    Attributes:
        sock: its socket.
        counts: how many packets have come, by type.
    """

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.counts = [0] * 16
        self._rest = b""
        self._unsent = b""

    def send(self, data: bytes) -> None:
        """Send, sooner or later."""
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Send what the kernel takes."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except BlockingIOError:
            return

    def receive(self) -> int:
        """Take in what has come; return how many messages there were."""
        try:
            data = self._rest + self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return 0
        at, messages, answers = 0, 0, []
        while at + 2 <= len(data):
            size, shift, body = 0, 0, at + 1
            while body < len(data):
                byte = data[body]
                size |= (byte & 0x7F) << shift
                shift, body = shift + 7, body + 1
                if byte < 0x80:
                    break
            else:
                break
            if body + size > len(data):
                break
            kind = data[at] >> 4
            self.counts[kind] += 1
            if kind == 3:
                messages += 1
                if data[at] & 6:
                    number = body + 2 + int.from_bytes(data[body : body + 2], "big")
                    answers.append(b"\x40\x02" + data[number : number + 2])
            at = body + size
        self._rest = data[at:]
        if answers:
            self.send(b"".join(answers))
        return messages


class Load:
    """Runs clients until something has come."""

    def __init__(self) -> None:
        self._selector = selectors.EpollSelector()
        self.clients: list[LoadClient] = []
        self.messages = 0

    def add(self, port: int) -> LoadClient:
        """Return one client more."""
        client = LoadClient(port)
        self.clients.append(client)
        self._selector.register(client.sock, selectors.EVENT_READ, client)
        return client

    def run_until(self, done: Callable[[], bool]) -> None:
        """Run until `done()`.

        Raises:
            TimeoutError: it takes too long.
        """
        end = time.monotonic() + _PATIENCE_SECONDS
        while not done():
            for key, _ in self._selector.select(0.05):
                self.messages += key.data.receive()
            for client in self.clients:
                client.flush()
            if time.monotonic() > end:
                raise TimeoutError("not all has come")

    def run_until_each(self, clients: Iterable[LoadClient], kind: int, count: int = 1) -> None:
        """Run until each of some clients has so many packets of a type."""
        waiting = list(clients)

        def done() -> bool:
            waiting[:] = [each for each in waiting if each.counts[kind] < count]
            return not waiting

        self.run_until(done)

    def close(self) -> None:
        """Close all clients."""
        for client in self.clients:
            client.sock.close()
        self._selector.close()

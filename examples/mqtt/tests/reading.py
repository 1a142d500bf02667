"""What a client of the tests says and hears."""

from __future__ import annotations

from judges.load import connect, packet, publish, subscribe, text

from host.plugins.framing import VarintFramer

__all__ = [
    "CONNACK",
    "DISCONNECT",
    "Client",
    "acknowledge",
    "all_of",
    "connect",
    "connect_with_will",
    "joined",
    "packet",
    "publish",
    "subscribe",
    "text",
    "unsubscribe",
]

CONNACK, DISCONNECT = b"\x20\x02\x00\x00", b"\xe0\x00"


def connect_with_will(client_id, topic, payload, *, keep_alive=0, qos=0):
    flags = bytes((4, 0x06 | qos << 3, *keep_alive.to_bytes(2, "big")))
    return packet(0x10, text("MQTT") + flags + text(client_id) + text(topic) + text(payload))


def unsubscribe(name):
    return packet(0xA2, b"\x00\x02" + text(name))


def acknowledge(packet_id):
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


class Client:
    """A client of a plugin in a harness."""

    def __init__(self, harness, worker=0, client_id="", *, clean=True, sends=None):
        self.harness, self.connection = harness, harness.connect(worker)
        self.framer = VarintFramer(before=1, longest=4)
        self.say(sends or connect(client_id, clean=clean))

    def say(self, data):
        self.connection.feed(data)
        self.harness.run()

    def hear(self):
        """Return all packets that have come: the first byte and the rest."""
        self.harness.run()
        return list(self.framer.feed(self.connection.take()))

    def messages(self):
        """Return the messages that have come: topic, payload, QoS, retained, number, again."""
        found = []
        for each in self.hear():
            if each[0] >> 4 == 3:
                qos, end = each[0] >> 1 & 3, 3 + int.from_bytes(each[1:3], "big")
                number = int.from_bytes(each[end : end + 2], "big") if qos else 0
                payload = each[end + 2 :] if qos else each[end:]
                again, retained = bool(each[0] & 8), bool(each[0] & 1)
                found.append((each[3:end].decode(), payload, qos, retained, number, again))
        return found

    def payloads(self):
        return [each[1] for each in self.messages()]


def joined(harness, worker=0, client_id="", *filters, qos=0, clean=True):
    """Return a client of a worker that has subscribed to filters."""
    client = Client(harness, worker, client_id, clean=clean)
    assert client.hear()[0][:1] == b"\x20"
    for each in filters:
        client.say(subscribe(each, qos))
        assert b"\x90" in [each[:1] for each in client.hear()]
    return client


def all_of(harness, table):
    """Return what a table has."""
    left = []
    harness.workers[0].bus.table(table).items(left.append)
    harness.run()
    return left[0]

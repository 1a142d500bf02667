"""Workers that are killed and reloads under load: no confirmed message with QoS 1 is lost."""

import signal

import pytest
from load import Load, wait_until
from reading import DISCONNECT, acknowledge, connect, connect_with_will, publish, subscribe

from host.plugins.framing import VarintFramer


@pytest.mark.parametrize("fault", ["kill", "reload", "away"])
def test_nothing_that_was_confirmed_is_lost(host_server, fault):
    host = host_server("mqtt", workers=4, options={"mqtt": {"sys_seconds": 0}})
    load = Load(host.port, host.port)
    load.goes_on()
    if fault == "kill":
        for slot in range(4):
            host.kill_worker(slot)
            load.goes_on()
    elif fault == "reload":
        for _ in range(2):
            before = len(host.events("generation_ready"))
            host.signal(signal.SIGHUP)
            wait_until(lambda: len(host.events("generation_ready")) > before, lambda: "no reload")  # noqa: B023
            load.goes_on()
    else:
        load.hearer.finish()
        load.goes_on(500)
        load.come_back(host.port)
        load.goes_on()
    load.judge()
    assert load.confirmed() > 500


class Peer:
    """A client of a real host that waits for each packet."""

    def __init__(self, host, sends):
        self.sock, self.framer, self.packets = host.connect(), VarintFramer(1, 4), []
        self.sock.sendall(sends)
        assert self.next()[0] == 0x20

    def next(self):
        """Return the next packet: its first byte and what follows its length; None at the end."""
        while not self.packets:
            if not (data := self.sock.recv(65_536)):
                return None
            self.packets += self.framer.feed(data)
        return self.packets.pop(0)


HEARER = connect("hearer", clean=False)


def test_wills_are_published_once_in_a_reload(host_server):
    """Also those of the last clients of a worker, which ends when they have gone."""
    host = host_server("mqtt", workers=2, options={"mqtt": {"sys_seconds": 0}})
    hearer = Peer(host, HEARER)
    hearer.sock.sendall(subscribe("w/#", 1))
    assert hearer.next()[0] == 0x90
    hearer.sock.sendall(DISCONNECT)
    assert hearer.next() is None
    hearer.sock.close()
    topics = [f"w/{number}" for number in range(12)]
    leaving = [Peer(host, connect_with_will(each, each, "gone", qos=1)) for each in topics]
    host.signal(signal.SIGHUP)
    for each in leaving:
        assert each.next() is None
        each.sock.close()
    host.wait_for("worker_exited", count=2)
    speaker = Peer(host, connect("speaker"))
    speaker.sock.sendall(publish("w/end", b"", 1, 1))
    assert speaker.next()[0] == 0x40
    hearer, heard = Peer(host, HEARER), []
    while "w/end" not in heard:
        message = hearer.next()
        end = 3 + int.from_bytes(message[1:3], "big")
        heard.append(message[3:end].decode())
        hearer.sock.sendall(acknowledge(int.from_bytes(message[end : end + 2], "big")))
    assert sorted(heard) == sorted([*topics, "w/end"])
    for each in (hearer, speaker):
        each.sock.close()

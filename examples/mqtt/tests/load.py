"""Clients that publish and hear as fast as the broker lets them, and note what they were told."""

import threading
import time

import paho.mqtt.client as paho

from host.testing.machine import patience


class Speaker:
    """Publishes with QoS 1 as fast as it is confirmed, and notes what was."""

    def __init__(self, port, number):
        self.confirmed, self._serial, self._number = [], 0, number
        self._unconfirmed, self._stopping = {}, False
        self.idle = threading.Event()
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=f"speaker-{number}", clean_session=False
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.on_publish = self._on_publish
        self.client.connect("127.0.0.1", port)
        for _ in range(5):
            self._publish()
        self.client.loop_start()  # whose thread does all the rest

    def _publish(self):
        payload = f"{self._number}-{self._serial}"
        self._serial += 1
        told = self.client.publish(f"load/{self._number}", payload, 1)
        self._unconfirmed[told.mid] = payload

    def _on_publish(self, _client, _data, number, *_):
        self.confirmed.append(self._unconfirmed.pop(number))
        if not self._stopping:
            self._publish()
        elif not self._unconfirmed:
            self.idle.set()

    def finish(self):
        """Publish nothing new, wait until all is confirmed, and go."""
        self._stopping = True
        assert self.idle.wait(patience(60))
        self.client.disconnect()
        self.client.loop_stop()


class Hearer:
    """Has a session that persists, and notes what it hears."""

    def __init__(self, port, client_id="hearer", topics="load/#"):
        self.heard, self.subscribed, self.presents = [], threading.Event(), []
        self._topics = topics
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.on_message = lambda _client, _data, message: self.heard.append(
            message.payload.decode()
        )
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _on_connect(self, client, _data, flags, *_):
        self.presents.append(flags.session_present)
        if not flags.session_present:
            client.subscribe(self._topics, 1)

    def finish(self):
        """Go, and come back one day."""
        self.client.disconnect()
        self.client.loop_stop()


class Load:
    """A hearer, some speakers, and somebody who has asked for something else.

    Args:
        hearing: the port where the hearer is.
        speaking: the port where the speakers are.
    """

    def __init__(self, hearing, speaking, speakers=4):
        self.earlier, self.hearer = set(), Hearer(hearing)
        self.bystander = Hearer(hearing, "bystander", "other/#")
        for each in (self.hearer, self.bystander):
            assert each.subscribed.wait(patience(30))
        self.speakers = [Speaker(speaking, number) for number in range(speakers)]

    def confirmed(self):
        """Return how many messages were confirmed."""
        return sum(len(each.confirmed) for each in self.speakers)

    def lost(self):
        """Return what was confirmed, and not heard so far."""
        confirmed = {payload for each in self.speakers for payload in each.confirmed}
        return confirmed - set(self.hearer.heard) - self.earlier

    def goes_on(self, count=200):
        """Wait until so many more are confirmed."""
        target = self.confirmed() + count
        wait_until(lambda: self.confirmed() >= target, lambda: f"{self.confirmed()} of {target}")

    def come_back(self, port):
        """Have the same client hear at a port, in the session that it has had."""
        self.earlier |= set(self.hearer.heard)
        self.hearer = Hearer(port)

    def judge(self):
        """Let all speakers finish, and see that nothing is lost and nothing has gone astray."""
        for each in self.speakers:
            each.finish()
        wait_until(
            lambda: not self.lost(), lambda: f"{len(self.lost())} of {self.confirmed()} lost"
        )
        self.hearer.finish()
        self.bystander.finish()
        assert self.hearer.presents[1:] == [True] * len(self.hearer.presents[1:])
        assert self.bystander.heard == []


def wait_until(condition, what):
    """Wait until something holds; else fail, and say what is wrong."""
    end = time.monotonic() + patience(60)
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.02)

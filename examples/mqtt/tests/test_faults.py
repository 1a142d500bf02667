"""Workers that are killed and reloads under load: no confirmed message with QoS 1 is lost."""

import signal
import threading
import time

import paho.mqtt.client as paho
import pytest

from host.testing.machine import patience

SPEAKERS = 4


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
        self.client.loop_start()
        self._lock = threading.Lock()
        for _ in range(5):
            self._publish()

    def _publish(self):
        with self._lock:
            payload = f"{self._number}-{self._serial}"
            self._serial += 1
            told = self.client.publish(f"load/{self._number}", payload, 1)
            self._unconfirmed[told.mid] = payload

    def _on_publish(self, _client, _data, number, *_):
        with self._lock:
            self.confirmed.append(self._unconfirmed.pop(number))
        if not self._stopping:
            self._publish()
        elif not self._unconfirmed:
            self.idle.set()

    def finish(self):
        self._stopping = True
        assert self.idle.wait(patience(60))
        self.client.disconnect()
        self.client.loop_stop()


class Hearer:
    """Has a session that persists, and notes what it hears."""

    def __init__(self, port):
        self.heard, self.subscribed, self.presents = [], threading.Event(), []
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id="hearer", clean_session=False
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
            client.subscribe("load/#", 1)

    def finish(self):
        self.client.disconnect()
        self.client.loop_stop()


def wait_until(condition, what):
    end = time.monotonic() + patience(60)
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.02)


@pytest.mark.parametrize("fault", ["kill", "reload", "away"])
def test_nothing_that_was_confirmed_is_lost(host_server, fault):
    host = host_server("mqtt", workers=4, options={"mqtt": {"sys_seconds": 0}})
    hearer = Hearer(host.port)
    assert hearer.subscribed.wait(patience(30))
    speakers = [Speaker(host.port, number) for number in range(SPEAKERS)]

    def confirmed():
        return sum(len(each.confirmed) for each in speakers)

    earlier = set()

    def lost():
        return (
            {payload for each in speakers for payload in each.confirmed}
            - set(hearer.heard)
            - earlier
        )

    def goes_on(count=200):
        target = confirmed() + count
        wait_until(lambda: confirmed() >= target, lambda: f"{confirmed()} of {target}")

    goes_on()
    if fault == "kill":
        for slot in range(4):
            host.kill_worker(slot)
            goes_on()
    elif fault == "reload":
        for _ in range(2):
            before = len(host.events("generation_ready"))
            host.signal(signal.SIGHUP)
            wait_until(lambda: len(host.events("generation_ready")) > before, lambda: "no reload")  # noqa: B023
            goes_on()
    else:
        hearer.finish()
        goes_on(500)
        earlier |= set(hearer.heard)
        hearer = Hearer(host.port)
        goes_on()
    for each in speakers:
        each.finish()
    wait_until(lambda: not lost(), lambda: f"{len(lost())} of {confirmed()} are lost")
    hearer.finish()
    assert hearer.presents[1:] == [True] * len(hearer.presents[1:])
    assert confirmed() > 500

"""The clients that people use, as they come, with one worker and with four."""

import asyncio
import shutil
import ssl
import subprocess
import threading

import aiomqtt
import paho.mqtt.client as paho
import pytest
from gmqtt import Client as GmqttClient
from gmqtt.mqtt.constants import MQTTv311

from host.testing import RunningHost
from host.testing.machine import patience

MESSAGES = 200

needs_tools = pytest.mark.skipif(
    shutil.which("mosquitto_pub") is None,
    reason="mosquitto_pub is not installed (Debian: mosquitto-clients)",
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gmqtt")


@pytest.fixture(scope="module", params=[1, 4])
def broker(request):
    """A broker for all of them: each has topics, or a session, of its own."""
    flags = ["--plugin", "mqtt", "--set", "options.mqtt.sys_seconds=0", "--log-format", "json"]
    address = ["--listen", "tcp://127.0.0.1:0"]
    with RunningHost([*flags, *address, "--workers", str(request.param)]) as host:
        host.wait_for("host_ready")
        yield host
        assert not host.events("hook_failed")


@needs_tools
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_pub_and_sub(broker, qos):
    common = ["-h", "127.0.0.1", "-p", str(broker.port), "-q", str(qos)]
    ready = f"ready/{qos}"  # what is retained is heard by whoever comes later, too
    hearing = ["mosquitto_sub", *common, "-t", "a/#", "-t", ready, "-C", str(MESSAGES + 1), "-v"]
    with subprocess.Popen(hearing, stdout=subprocess.PIPE, text=True) as hearer:
        said = ["mosquitto_pub", *common, "-t", ready, "-m", "now", "-r"]
        subprocess.run(said, check=True, timeout=patience(30))  # retained: it is heard in any case
        assert hearer.stdout.readline() == f"{ready} now\n"
        lines = "".join(f"{number}\n" for number in range(MESSAGES))
        subprocess.run(
            ["mosquitto_pub", *common, "-t", "a/b", "-l"],
            input=lines,
            text=True,
            check=True,
            timeout=patience(30),
        )
        out, _ = hearer.communicate(timeout=patience(60))
    assert out.split("\n")[:-1] == [f"a/b {number}" for number in range(MESSAGES)]


@needs_tools
def test_over_tls(host_server, tmp_path):
    broker = host_server("mqtt", workers=2, tls=True, options={"mqtt": {"sys_seconds": 0}})
    (known,) = broker.tls.get_ca_certs(binary_form=True)
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(ssl.DER_cert_to_PEM_cert(known), encoding="ascii")
    common = ["-h", "localhost", "-p", str(broker.port), "-q", "1", "--cafile", str(trusted)]
    said = ["mosquitto_pub", *common, "-t", "a", "-m", "x" * 100_000, "-r"]
    subprocess.run(said, check=True, timeout=patience(30))
    hearing = ["mosquitto_sub", *common, "-t", "a", "-C", "1"]
    done = subprocess.run(hearing, check=True, capture_output=True, text=True, timeout=patience(30))
    assert done.stdout == "x" * 100_000 + "\n"


@needs_tools
def test_mosquitto_sub_finds_what_it_has_missed(broker):
    common = ["-h", "127.0.0.1", "-p", str(broker.port), "-q", "1"]
    hearing = ["mosquitto_sub", *common, "-t", "a", "-i", "me", "-c"]
    subprocess.run([*hearing, "-E"], check=True, timeout=patience(30))  # ends once it is subscribed
    for number in range(5):
        said = ["mosquitto_pub", *common, "-t", "a", "-m", str(number)]
        subprocess.run(said, check=True, timeout=patience(30))
    done = subprocess.run(
        [*hearing, "-C", "5"], check=True, capture_output=True, text=True, timeout=patience(30)
    )
    assert done.stdout.split() == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho(broker, qos):
    heard, done, subscribed = [], threading.Event(), threading.Event()

    def on_message(_client, _data, message):
        heard.append((message.topic, message.payload))
        if len(heard) == MESSAGES:
            done.set()

    hearer = paho.Client(paho.CallbackAPIVersion.VERSION2)
    hearer.on_message = on_message
    hearer.on_connect = lambda client, *_: client.subscribe("a/+", qos)
    hearer.on_subscribe = lambda *_: subscribed.set()
    speaker = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="speaker")
    try:
        for client in (hearer, speaker):
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
        assert subscribed.wait(patience(30))
        for number in range(MESSAGES):
            speaker.publish("a/b", b"%d" % number, qos).wait_for_publish(patience(30))
        assert done.wait(patience(60))
    finally:
        for client in (hearer, speaker):
            client.disconnect()
            client.loop_stop()
    assert heard == [("a/b", b"%d" % number) for number in range(MESSAGES)]


def test_aiomqtt(broker):
    async def talk():
        heard = []
        async with aiomqtt.Client("127.0.0.1", broker.port) as hearer:
            await hearer.subscribe("a/#", qos=1)
            async with aiomqtt.Client("127.0.0.1", broker.port) as speaker:
                for number in range(MESSAGES):
                    await speaker.publish(f"a/{number}", str(number), qos=number % 3)
            async for message in hearer.messages:
                heard.append((str(message.topic), message.payload))
                if len(heard) == MESSAGES:
                    return heard
        return heard

    heard = asyncio.run(asyncio.wait_for(talk(), patience(60)))
    assert sorted(heard) == sorted((f"a/{each}", b"%d" % each) for each in range(MESSAGES))


def test_gmqtt(broker):
    async def talk():
        heard, subscribed, done = [], asyncio.Event(), asyncio.Event()

        def on_message(_client, topic, payload, *_):
            heard.append((topic, bytes(payload)))
            if len(heard) == MESSAGES:
                done.set()
            return 0

        hearer, speaker = GmqttClient("hearer"), GmqttClient("speaker")
        hearer.on_message = on_message
        hearer.on_subscribe = lambda *_: subscribed.set()
        for client in (hearer, speaker):
            await client.connect("127.0.0.1", broker.port, version=MQTTv311)
        hearer.subscribe("a/#", qos=1)
        await subscribed.wait()
        for number in range(MESSAGES):
            speaker.publish("a/b", str(number), qos=1)
        await done.wait()
        for client in (hearer, speaker):
            await client.disconnect()
        return heard

    heard = asyncio.run(asyncio.wait_for(talk(), patience(60)))
    assert heard == [("a/b", b"%d" % number) for number in range(MESSAGES)]

"""The section [bus]: which URLs mean a broker, and what of it may be shown or changed."""

import pytest
from pydantic import ValidationError

from host.settings import BusSettings
from host.settings.bus import BrokerAddress, parse_url

URLS = {
    "redis://10.0.0.5": BrokerAddress("10.0.0.5", 6379, "", False, "", 0),
    "redis://bus@broker.example:7000/3": BrokerAddress("broker.example", 7000, "", False, "bus", 3),
    "rediss://[::1]:7000/": BrokerAddress("::1", 7000, "", True, "", 0),
    "unix:///run/redis.sock": BrokerAddress("", 6379, "/run/redis.sock", False, "", 0),
    "unix:///run/a%20b.sock?db=2": BrokerAddress("", 6379, "/run/a b.sock", False, "", 2),
}
SHOWN = ["10.0.0.5:6379", "broker.example:7000", "[::1]:7000 (TLS)", "/run/redis.sock"]


def refusal(**values):
    with pytest.raises(ValidationError) as caught:
        BusSettings(**values)
    (error,) = caught.value.errors()
    return error["msg"]


@pytest.mark.parametrize("url", URLS)
def test_a_url_means_a_broker(url):
    assert parse_url(url) == URLS[url]
    assert BusSettings(url=url).address == URLS[url]


@pytest.mark.parametrize(("url", "shown"), list(zip(URLS, SHOWN, strict=False)))
def test_a_broker_is_told_by_its_place(url, shown):
    assert str(parse_url(url)) == shown


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "expected"),
        ("nats://10.0.0.5", "expected"),
        ("10.0.0.5:6379", "expected"),
        ("redis://", "names no host"),
        ("unix:", "names no path"),
        ("redis://h/name", "'name' is no number"),
        ("redis://h/-1", "is no number"),
        ("redis://h:99999", "Port"),
        ("redis://h:port", "Port"),
        ("redis://[::1", "IPv6"),
        ("unix:///s?db=x", "'x' is no number"),
        ("redis://h?db=5", "more than is understood"),
        ("rediss://h/0?ssl_cert_reqs=none", "more than is understood"),
        ("redis://h/0#5", "more than is understood"),
        ("redis://h:0", "names port 0"),
        ("unix:///s?db=1&timeout=5", "more than is understood"),
        ("unix://run/redis.sock", "no / before 'run'"),
    ],
)
def test_what_is_none_is_refused(url, word):
    assert word in refusal(url=url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@h",
        "redis://user:a/hunter2@h",
        "redis://:hunter2#a@h",
        "redis://user:hunter2?a@h",
        "redis://h?password=hunter2",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_shown(url):
    message = refusal(url=url)
    assert "bus.password_file" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"password": "a", "password_file": "b"}, "both"),
        ({"url": "rediss://h", "certificate": "c.pem"}, "together"),
        ({"url": "rediss://h", "key": "k.pem"}, "together"),
        ({"url": "redis://h", "ca": "ca.pem"}, "rediss://"),
        ({"node": "a b"}, "pattern"),
        ({"namespace": ""}, "at least 1"),
        ({"namespace": "a}b"}, "pattern"),
    ],
)
def test_what_does_not_fit_is_refused(values, word):
    assert word in refusal(**values)


@pytest.mark.parametrize(
    ("hostname", "name"),
    [("eu-1", "eu-1"), ("a b.example", "a-b.example"), ("-x-", "x"), ("ü", "node"), ("", "node")],
)
def test_a_node_has_the_name_of_the_machine(monkeypatch, hostname, name):
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    assert BusSettings().node_name == name
    assert BusSettings(node="mine").node_name == "mine"


def test_what_its_members_are_known_by_takes_a_restart():
    before = BusSettings(url="redis://h", node="a")
    assert before.change_since(before) == ""
    assert BusSettings(url="redis://h", node="a", password="x").change_since(before) == ""
    told = BusSettings(url="redis://i", node="a", lease_seconds=3).change_since(before)
    assert told == (
        'bus.url changes from "redis://h" to "redis://i",'
        " bus.lease_seconds changes from 10.0 to 3.0, which takes a restart"
    )


def test_what_a_rehearsal_tells_has_no_password():
    settings = BusSettings(url="redis://h", password="hunter2")
    assert "hunter2" not in settings.without_secrets().model_dump_json()
    assert settings.without_secrets().change_since(settings) == ""

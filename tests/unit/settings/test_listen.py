"""One listener: its parts, its file mode, and addresses that repeat."""

import pytest
from pydantic import ValidationError

from host.settings import Address, Limits, Listen, Settings


def test_listen_tells_its_parts():
    listen = Listen(address="unix:/a=echo")
    assert listen.plugin is None
    assert listen.parsed == Address("unix", path="/a=echo")


@pytest.mark.parametrize("mode", [0o660, "0660", "660", "0o660"])
def test_mode_is_octal_in_text(mode):
    settings = Settings.model_validate({"listen": [{"address": "unix:/a", "mode": mode}]})
    assert settings.listen[0].mode == 0o660


@pytest.mark.parametrize("mode", [True, 660, -1, "888", "rw-", 1.0])
def test_other_modes_are_refused(mode):
    with pytest.raises(ValidationError, match="expected file mode up to 0o777"):
        Listen.model_validate({"address": "unix:/a", "mode": mode})


def test_port_zero_may_repeat():
    text = "tcp://127.0.0.1:0"
    assert len(Settings.model_validate({"listen": [text, text]}).listen) == 2


def test_instances_are_checked_for_repetition_too():
    one = Listen(address="tcp://127.0.0.1:7000")
    with pytest.raises(ValidationError, match=r"same address as listen\[0\]"):
        Settings(listen=(one, Listen(address="tcp://localhost:7000")))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backlog": 4}, "backlog is for connections, and UDP has none: leave it out"),
        (
            {"max_rate": 5.0, "proxy": "any", "proxy_from": ("10.0.0.0/8",)},
            "max_rate, proxy, proxy_from are for connections, and UDP has none: leave them out",
        ),
        ({"mode": 0o660}, "mode is for connections"),
        ({"refuse": "close"}, "refuse is for connections"),
    ],
)
def test_options_of_connections_are_refused_at_a_udp_listener(given, message):
    with pytest.raises(ValidationError, match=message):
        Listen.model_validate({"address": "udp://127.0.0.1:53", **given})


@pytest.mark.parametrize("given", [{"shards": 4}, {"reply_factor": 0.0}])
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:53", "unix:/a"])
def test_options_of_udp_are_refused_elsewhere(address, given):
    with pytest.raises(ValidationError, match="is for UDP listeners alone: leave it out"):
        Listen.model_validate({"address": address, **given})


def test_settings_that_were_written_with_all_defaults_are_read_again():
    settings = Settings.model_validate({"listen": ["udp://[::1]:53", "tcp://127.0.0.1:53"]})
    assert Settings.model_validate(settings.model_dump()) == settings


def test_udp_and_tcp_may_have_one_port_and_udp_has_it_once():
    texts = ["tcp://127.0.0.1:53", "udp://127.0.0.1:53"]
    assert len(Settings.model_validate({"listen": texts}).listen) == 2
    with pytest.raises(ValidationError, match=r"same address as listen\[1\]"):
        Settings.model_validate({"listen": [*texts, "udp://localhost:53"]})


UNIX, TCP = {"address": "unix:/a"}, {"address": "tcp://127.0.0.1:0"}
OWN = {"max_per_client": 2}
PROXY = {"proxy": "any", "proxy_from": ["unix"]}


@pytest.mark.parametrize(
    ("listen", "limits", "places"),
    [
        ([TCP, UNIX | OWN], {}, [("listen", 1, "max_per_client")]),
        ([UNIX], {"max_per_client": 5}, [("limits", "max_per_client")]),
        (
            [UNIX | OWN, {"address": "unix:@b"}],
            {"max_per_client": 5, "rate_per_client": "2/s"},
            [
                ("listen", 0, "max_per_client"),
                ("limits", "max_per_client"),
                ("limits", "rate_per_client"),
            ],
        ),
    ],
)
def test_limits_of_clients_that_nobody_can_tell_apart_are_refused(listen, limits, places):
    with pytest.raises(ValidationError, match=r"set limits\.client_uid = true") as raised:
        Settings.model_validate({"listen": listen, "limits": limits})
    assert [each["loc"] for each in raised.value.errors()] == places
    Settings.model_validate({"listen": listen, "limits": limits | {"client_uid": True}})


@pytest.mark.parametrize(
    ("listen", "limits"),
    [
        ([UNIX, TCP | OWN], {"max_per_client": 5, "rate_per_client": 2}),
        ([UNIX | {"max_per_client": 0}, TCP], {"max_per_client": 5}),
        ([UNIX | OWN | PROXY], {"max_per_client": 5}),
        ([{"address": "fd:a"} | OWN], {"rate_per_client": 2}),
        ([UNIX], {}),
        ([], {"max_per_client": 5}),
    ],
)
def test_other_limits_of_clients_are_not(listen, limits):
    Settings.model_validate({"listen": listen, "limits": limits})


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::FFFF:a01:203", "10.1.2.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("::10.1.2.3", "::10.1.2.3"),
    ],
)
def test_networks_of_ipv4_in_notation_of_ipv6_are_what_they_stand_for(text, network):
    listen = Listen(address="tcp://[::]:1", allow=(text,), deny=(text,))
    assert (listen.allow, listen.deny) == ((network,), (network,))
    listen = Listen(address="tcp://[::]:1", proxy="any", proxy_from=(text,))
    assert listen.proxy_from == (network,)


def test_a_name_that_no_plugin_can_have_is_refused_for_a_protocol_of_alpn():
    with pytest.raises(ValidationError, match='"" is no plugin name, for "h2"'):
        Listen(address="tcp://[::]:1", tls="x", alpn={"h2": ""})


@pytest.mark.parametrize(
    ("given", "rate"), [("500/s", 500.0), ("30/m", 0.5), ("90/h", 0.025), ("2.5", 2.5), (7, 7.0)]
)
def test_all_rates_are_written_alike(given, rate):
    listen = Listen.model_validate({"address": "tcp://127.0.0.1:7000", "max_rate": given})
    assert listen.max_rate == Limits.model_validate({"rate_per_client": given}).rate_per_client
    assert listen.max_rate == rate


def test_a_burst_needs_a_rate():
    assert Limits(rate_per_client=5.0, burst_per_client=20).burst_per_client == 20
    with pytest.raises(ValidationError, match="says nothing without rate_per_client"):
        Limits(burst_per_client=20)

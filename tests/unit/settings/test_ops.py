"""Where a host is shown: what needs a token, and what is said of a mistake is said at its place."""

import pytest
from pydantic import ValidationError

from host.settings import Settings

TOKEN = "0123456789abcdef"


def refused(admin=True, **ops):
    """Settings of this section that are refused; return the places and the messages."""
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"admin": {"enabled": admin}, "ops": ops})
    return [(each["loc"], each["msg"]) for each in raised.value.errors()]


def test_only_what_other_machines_reach_needs_a_token():
    local = ["tcp://127.0.0.1:1", "tcp://[::1]:1", "unix:/a", "unix:@b"]
    Settings.model_validate({"ops": {"listen": local}})
    listen = [local[0], "tcp://0.0.0.0:1", local[2], "tcp://[2001:db8::1]:1"]
    found = refused(listen=listen)
    assert [place for place, _ in found] == [("ops", "listen", 1), ("ops", "listen", 3)]
    assert all("set ops.token_file" in message for _, message in found)
    for token in ({"token": TOKEN}, {"token_file": "token"}):
        Settings.model_validate({"ops": {"listen": listen, **token}})


@pytest.mark.parametrize("address", ["udp://127.0.0.1:1", "fd:ops", "127.0.0.1:1", "tcp://a:1", ""])
def test_http_is_served_at_addresses_of_connections(address):
    [(place, _)] = refused(listen=["unix:/a", address])
    assert place == ("ops", "listen", 1)


@pytest.mark.parametrize("token", ["short", "with a space in it", "ünïcödé-ünïcödé-ü", "a" * 15])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token):
    [(place, message)] = refused(token=token)
    assert place == ("ops", "token")
    assert token not in message


def test_one_token_is_enough():
    [(_, message)] = refused(token=TOKEN, token_file="token")
    assert "one of them is enough" in message


def test_the_supervisor_must_take_questions():
    [(place, message)] = refused(admin=False, listen=["unix:/a"])
    assert (place, "admin.enabled = true" in message) == (("ops",), True)
    Settings.model_validate({"admin": {"enabled": False}})


@pytest.mark.parametrize("host", ["a b", "a:80", "", "-a", "x" * 300])
def test_names_of_hosts_have_no_port(host):
    [(place, _)] = refused(hosts=["a.example", host])
    assert place == ("ops", "hosts", 1)


@pytest.mark.parametrize("host", ["shop_web_1", "_a", "a_"])
def test_names_of_hosts_may_be_those_of_containers(host):
    assert Settings.model_validate({"ops": {"hosts": [host]}}).ops.hosts == (host,)

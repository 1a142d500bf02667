"""Which variables set what, which are Kubernetes', and which were settings once."""

import os

import pytest

from host.settings import Settings, ignored_variables
from host.settings.variables import is_of_named, is_of_service, variable, variables

SERVICE = {
    "PREFORK_SERVICE_HOST": "10.0.0.11",
    "PREFORK_SERVICE_PORT": "7000",
    "PREFORK_SERVICE_PORT_MY_LINES": "7000",
    "PREFORK_PORT": "tcp://10.0.0.11:7000",
    "PREFORK_PORT_7000_TCP": "tcp://10.0.0.11:7000",
    "PREFORK_PORT_7000_TCP_PROTO": "tcp",
    "PREFORK_PORT_7000_TCP_PORT": "7000",
    "PREFORK_PORT_7000_TCP_ADDR": "10.0.0.11",
    "PREFORK_PORT_53_UDP": "udp://[fd00::11]:53",
    "PREFORK_PORT_53_UDP_ADDR": "fd00::11",
}


def test_a_variable_is_named_after_the_path_of_its_key():
    assert variable(("workers",)) == "PREFORK_WORKERS"
    assert variable(("limits", "max_events")) == "PREFORK_LIMITS__MAX_EVENTS"
    assert variables()["PREFORK_LIMITS__MAX_EVENTS"] == "limits.max_events"
    assert "PREFORK_OPTIONS" not in variables()
    assert "PREFORK_POOLS" not in variables()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("PREFORK_OPTIONS__CHAT__HISTORY", True),
        ("PREFORK_OPTIONS__CHAT__B__D", True),
        ("PREFORK_POOLS__DEFAULT__SIZE", True),
        ("PREFORK_OPTIONS__CHAT", False),
        ("PREFORK_OPTIONS__CHAT__", False),
        ("PREFORK_OPTIONS__CHAT__history", False),
        ("PREFORK_LIMITS__MAX__EVENTS", False),
    ],
)
def test_options_are_known_by_their_form(name, answer):
    assert is_of_named(name) is answer


def test_variables_of_a_service_with_our_name_set_nothing(load):
    assert load(environ=SERVICE).settings == Settings()
    assert load(environ=SERVICE).origins == {}


def test_so_do_those_of_services_whose_names_begin_like_ours(load):
    chat = {name.replace("PREFORK", "PREFORK_CHAT_2", 1): text for name, text in SERVICE.items()}
    assert load(environ=chat).settings == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PREFORK_PORT", "7000"),
        ("PREFORK_PORT", "127.0.0.1:7000"),
        ("PREFORK_PORT_7000", "tcp://10.0.0.11:7000"),
        ("PREFORK_PORT_TCP", "tcp://10.0.0.11:7000"),
        ("PREFORK_PORT_7000_TCP_NAME", "lines"),
        ("PREFORK_LISTEN__PORT", "tcp://10.0.0.11:7000"),
        ("PREFORK_LISTEN_PORT", "7000"),
        ("PREFORK_SERVICE", "lines"),
        ("PREFORK_service_host", "10.0.0.11"),
        ("XPREFORK_SERVICE_HOST", "10.0.0.11"),
    ],
)
def test_what_only_looks_like_one_of_a_service(name, text):
    assert not is_of_service(name, text)


def test_an_option_may_have_the_name_of_one_of_a_service(load):
    loaded = load(environ={"PREFORK_OPTIONS__CHAT__SERVICE_PORT": "7000"})
    assert loaded.settings.options == {"chat": {"service_port": "7000"}}


def test_variables_of_the_old_prefix_set_nothing_and_are_told_if_they_once_did(load):
    old = {
        "HOST_WORKERS": "none",
        "HOST_NAME": "node-17",
        "HOST_LIMITS__IDLE_TIMEOUT_SECONDS": "60",
        "HOST_OPTIONS__CHAT__HISTORY": "5",
        "HOST_CONFIG": "missing.toml",
        "HOST_PRESET": "missing",
    }
    of_others = {"HOST_IP": "10.0.0.1", "HOST_PORT": "1", "HOST": "x", "HOST_workers": "1"}
    assert load(environ=old | of_others).settings == Settings()
    assert ignored_variables(old | of_others) == sorted(old)
    assert ignored_variables({"PREFORK_WORKERS": "4", "PATH": "/bin", **of_others}) == []


def test_those_of_this_process_are_looked_at_by_default(monkeypatch):
    for name in [n for n in os.environ if n.startswith("HOST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOST_WORKERS", "3")
    assert ignored_variables() == ["HOST_WORKERS"]

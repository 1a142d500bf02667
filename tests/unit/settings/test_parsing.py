"""How texts of variables and flags become values."""

from typing import Any

import pytest
from pydantic import BaseModel

from host.settings import validate_options


class Anything(BaseModel):
    history: Any = None


def test_variables_are_parsed_by_the_type_of_their_key(load):
    loaded = load(
        environ={
            "PREFORK_RESPAWN": "no",
            "PREFORK_NAME": "5",
            "PREFORK_LIMITS__IDLE_TIMEOUT_SECONDS": "2.5",
            "PREFORK_LOG__FORMAT": "json",
            "PREFORK_PLUGINS": " echo, ./chat.py ,pkg.mod:Class",
            "PREFORK_LISTEN": "tcp://[::1]:0=echo,unix:@x",
            "PATH": "/bin",
            "HOST": "ignored",
        }
    ).settings
    assert loaded.respawn is False
    assert loaded.name == "5"
    assert loaded.limits.idle_timeout_seconds == 2.5
    assert loaded.log.format == "json"
    assert loaded.plugins == ("echo", "./chat.py", "pkg.mod:Class")
    assert [(one.address, one.plugin) for one in loaded.listen] == [
        ("tcp://[::1]:0", "echo"),
        ("unix:@x", None),
    ]


def test_lists_may_be_json(load):
    loaded = load(
        environ={
            "PREFORK_PLUGINS": '["a", "b"]',
            "PREFORK_LISTEN": '[{"address": "unix:/a,b", "mode": "0660"}, "unix:/c"]',
        }
    ).settings
    assert loaded.plugins == ("a", "b")
    assert [(one.address, one.mode) for one in loaded.listen] == [
        ("unix:/a,b", 0o660),
        ("unix:/c", 0o600),
    ]


def test_lists_may_be_toml_as_messages_show_them(load):
    files = '[{ certificate = "a.pem", key = "a.key" }]'
    tls = load(environ={"PREFORK_TLS__PUBLIC__CERTIFICATES": files}).settings.tls
    assert [(one.certificate, one.key) for one in tls["public"].certificates] == [
        ("a.pem", "a.key")
    ]


def test_an_empty_variable_counts_as_unset(load):
    empty = dict.fromkeys(
        [
            "PREFORK_PLUGINS",
            "PREFORK_WORKERS",
            "PREFORK_WRKERS",
            "PREFORK_CONFIG",
            "PREFORK_PRESET",
            "PREFORK_OPTIONS__CHAT",
            "PREFORK_OPTIONS__CHAT__MOTD",
        ],
        "",
    )
    loaded = load("plugins = ['a']\noptions.chat.motd = 'x'", environ=empty)
    assert loaded.settings.plugins == ("a",)
    assert loaded.settings.options == {"chat": {"motd": "x"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50", 50),
        ("1_000", 1000),
        ("0o17", 15),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ('{"a": {"b": 1}}', {"a": {"b": 1}}),
        ("plain text", "plain text"),
        ("NaN", "NaN"),
        ("1\nb = 2", "1\nb = 2"),
        ('"5"', "5"),
        ("", ""),
    ],
)
def test_options_of_any_type_are_parsed_if_they_can_be(load, text, value):
    loaded = load(flags={"options.chat.history": (text, "--set")})
    assert validate_options("chat", Anything, loaded).history == value

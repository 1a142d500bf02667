"""Every source, and which one wins."""

import os

import pytest

from host import settings
from host.settings import Origin, Settings


def test_without_sources_everything_is_default(load):
    loaded = load()
    assert loaded.settings == Settings()
    assert loaded.origins == {}
    assert loaded.is_default("limits.max_events")
    assert loaded.origin("limits.max_events") == Origin("default", "default")


def test_workers_default_to_usable_cpus(load):
    assert load().settings.workers == min(len(os.sched_getaffinity(0)), 1024)


def test_reads_the_environment_of_the_process_by_default(monkeypatch):
    for name in [n for n in os.environ if n.startswith("PREFORK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFORK_WORKERS", "3")
    assert settings.load().settings.workers == 3


SOURCES = [
    ("preset", {"preset": "everything"}, 2, "everything.toml:8 (preset)"),
    ("file", {"toml": "\nworkers = 3"}, 3, "host.toml:2"),
    ("environment", {"environ": {"PREFORK_WORKERS": "4"}}, 4, "PREFORK_WORKERS (environment)"),
    ("flag", {"flags": {"workers": ("5", "--workers")}}, 5, "--workers (flag)"),
]


@pytest.mark.parametrize("strongest", range(4))
def test_stronger_sources_override_weaker_ones(load, strongest):
    given = {}
    for _, source, _, _ in SOURCES[: strongest + 1]:
        given |= source
    kind, _, workers, text = SOURCES[strongest]
    loaded = load(**given)
    assert loaded.settings.workers == workers
    assert loaded.origin("workers") == Origin(kind, text)
    assert str(loaded.origin("workers")) == text


def test_tables_merge_and_lists_replace(load):
    loaded = load(
        "listen = ['unix:/a', 'unix:/b']\n[limits]\nmax_events = 3\nidle_timeout_seconds = 1",
        environ={"PREFORK_LIMITS__MAX_EVENTS": "5", "PREFORK_LISTEN": "unix:/c=echo"},
    )
    assert loaded.settings.limits.max_events == 5
    assert loaded.settings.limits.idle_timeout_seconds == 1.0
    assert [one.address for one in loaded.settings.listen] == ["unix:/c"]
    assert "listen[1].address" not in loaded.origins
    assert loaded.origin("listen[0].plugin").text == "PREFORK_LISTEN (environment)"
    assert loaded.is_default("listen[0].backlog")
    assert loaded.origin("limits.idle_timeout_seconds").text == "host.toml:4"


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


def test_an_empty_variable_empties_a_list(load):
    assert load("plugins = ['a']", environ={"PREFORK_PLUGINS": ""}).settings.plugins == ()


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
def test_options_are_parsed_if_they_can_be(load, text, value):
    loaded = load(environ={"PREFORK_OPTIONS__CHAT__HISTORY": text})
    assert loaded.settings.options == {"chat": {"history": value}}


def test_options_nest_and_merge(load):
    loaded = load(
        "[options.chat]\na = 1\nb = {c = 1}",
        environ={"PREFORK_OPTIONS__CHAT__B__D": "2"},
        flags={"options.my-chat.x": ("3", "--set options.my-chat.x=3")},
    )
    assert loaded.settings.options == {"chat": {"a": 1, "b": {"c": 1, "d": 2}}, "my-chat": {"x": 3}}
    assert dict(loaded.origins) == {
        "options.chat.a": Origin("file", "host.toml:2"),
        "options.chat.b.c": Origin("file", "host.toml:3"),
        "options.chat.b.d": Origin("environment", "PREFORK_OPTIONS__CHAT__B__D (environment)"),
        "options.my-chat.x": Origin("flag", "--set options.my-chat.x (flag)"),
    }


def test_flags_are_parsed_like_variables_unless_they_are_values(load):
    loaded = load(
        flags={
            "limits.max_events": ("5", "--set limits.max_events=5"),
            "plugins": (("echo",), "--plugin echo"),
            "respawn": (False, "--no-respawn"),
        }
    )
    assert loaded.settings.limits.max_events == 5
    assert loaded.settings.plugins == ("echo",)
    assert loaded.settings.respawn is False
    assert loaded.origin("limits.max_events").text == "--set limits.max_events (flag)"


@pytest.mark.parametrize(
    ("flag", "plugins", "origin"),
    [
        (["chat"], ("chat",), "--plugin … (flag)"),
        (["chat", "no:x"], ("chat", "no:x"), "--plugin … (flag)"),
        (["no:x"], ("echo", "no:y", "no:x"), "host.toml:1, --plugin … (flag)"),
        (["no:y"], ("echo", "no:y"), "host.toml:1, --plugin … (flag)"),
        ([], (), "--plugin … (flag)"),
    ],
)
def test_flags_that_only_leave_out_add_to_the_selection(load, flag, plugins, origin):
    loaded = load("plugins = ['echo', 'no:y']", flags={"plugins": (flag, "--plugin …")})
    assert loaded.settings.plugins == plugins
    assert loaded.origin("plugins") == Origin("flag", origin)


def test_leaving_out_needs_no_file(load):
    assert load(flags={"plugins": ("no:x", "--plugin no:x")}).settings.plugins == ("no:x",)


def test_variables_choose_file_and_preset_and_arguments_win(load, tmp_path):
    (tmp_path / "other.toml").write_text("name = 'other'")
    environ = {"PREFORK_CONFIG": "other.toml", "PREFORK_PRESET": "echo"}
    loaded = load(environ=environ)
    assert loaded.settings.name == "other"
    assert loaded.origin("plugins").text == "echo.toml:2 (preset)"
    loaded = load("name = 'host'", environ=environ, preset="everything")
    assert loaded.settings.name == "host"
    assert loaded.origin("plugins").text == "everything.toml:15 (preset)"
    assert load(environ={"PREFORK_CONFIG": "", "PREFORK_PRESET": ""}).settings == Settings()

"""Every source, which one wins, and all their problems at once."""

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


def test_options_nest_and_merge(load):
    loaded = load(
        "[options.chat]\na = 1\nb = {c = 1}",
        environ={"PREFORK_OPTIONS__CHAT__B__D": "2"},
        flags={"options.my-chat.x": ("3", "--set options.my-chat.x=3")},
    )
    assert loaded.settings.options == {
        "chat": {"a": 1, "b": {"c": 1, "d": "2"}},
        "my-chat": {"x": "3"},
    }
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


def test_secrets_are_not_in_the_repr(load):
    assert "hunter2" not in repr(load("[options.chat]\ndsn = 'hunter2'"))


def test_all_problems_are_reported_at_once_and_once(problems):
    found = problems(
        "workers = 0\nqqq = 1\nplugins = ['a', 'a', '']\n"
        "[connection]\nlow_water_bytes = 300000\nwrite_timeout_seconds = 0\n[limit]\n",
        preset="ecko",
        environ={"PREFORK_WORKRS": "1", "PREFORK_LOG__LEVEL": "loud"},
        flags={"respawn": ("maybe", "--set respawn=maybe")},
    )
    assert sorted(key for key, *_ in found) == [
        "connection.low_water_bytes",
        "connection.write_timeout_seconds",
        "limit",
        "log.level",
        "plugins[1]",
        "plugins[2]",
        "preset",
        "qqq",
        "respawn",
        "workers",
        "workrs",
    ]


def test_an_unknown_key_is_reported_for_each_source_that_has_it(problems):
    found = problems("wrokers = 1", flags={"wrokers": ("2", "--set wrokers=2")})
    assert [where for *_, where in found] == [
        "from host.toml:1",
        "from --set wrokers (flag)",
    ]

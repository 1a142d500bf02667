"""What the operator reads when something is wrong."""

import pytest

from host.settings import Problem, SettingsError, nearest
from host.settings.errors import is_secret_name, show

FILE = "from host.toml:{}"


def test_error_reads_as_a_table():
    error = SettingsError(
        [
            Problem("max_rooms", '"many"', "expected integer", "from A (environment)"),
            Problem("histroy", "50", 'unknown key, did you mean "history"?', "from host.toml:17"),
            Problem("name", "", "missing", ""),
            Problem("histroy", "50", 'unknown key, did you mean "history"?', "from host.toml:17"),
        ],
        'settings of plugin "chat"',
    )
    assert str(error).splitlines() == [
        'settings of plugin "chat" are invalid (3 problems)',
        '  max_rooms = "many"  expected integer                      from A (environment)',
        '  histroy   = 50      unknown key, did you mean "history"?  from host.toml:17',
        "  name                missing",
    ]
    assert str(SettingsError(error.problems[2:])).startswith("settings are invalid (1 problem)\n")


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("workers = '4'", ("workers", '"4"', "expected integer from 1 to 1024", 1)),
        ("workers = true", ("workers", "true", "expected integer from 1 to 1024", 1)),
        ("workers = 2.0", ("workers", "2.0", "expected integer from 1 to 1024", 1)),
        ("workers = 0", ("workers", "0", "expected integer from 1 to 1024", 1)),
        ("workers = 1025", ("workers", "1025", "expected integer from 1 to 1024", 1)),
        ("respawn = 1", ("respawn", "1", "expected true or false", 1)),
        ("name = 5", ("name", "5", "expected string matching ^[a-z0-9][a-z0-9._-]{0,63}$", 1)),
        ("name = 'A'", ("name", '"A"', "expected string matching ^[a-z0-9][a-z0-9._-]{0,63}$", 1)),
        ("plugins = 'echo'", ("plugins", '"echo"', "expected list", 1)),
        ("plugins = [5]", ("plugins[0]", "5", "expected string", 1)),
        (
            "plugins = [\n'a',\n'b c']",
            (
                "plugins[1]",
                '"b c"',
                'expected NAME, "package.module:Class", "./file.py" or "no:NAME"',
                3,
            ),
        ),
        (
            "plugins = ['a', 'b', 'a']",
            ("plugins[2]", '"a"', "selected twice, first as plugins[0]", 1),
        ),
        (
            'plugins = ["a\\n"]',
            (
                "plugins[0]",
                '"a\\n"',
                'expected NAME, "package.module:Class", "./file.py" or "no:NAME"',
                1,
            ),
        ),
        ("listen = {}", ("listen", "{}", "expected list", 1)),
        (
            "listen = [5]",
            ("listen[0]", "5", 'expected "ADDRESS", "ADDRESS=PLUGIN" or a table', 1),
        ),
        (
            "listen = ['tcp://1.1.1.1:x']",
            ("listen[0].address", '"tcp://1.1.1.1:x"', '"x" is no port, expected 0 to 65535', 1),
        ),
        (
            "listen = ['tcp://1.1.1.1:80=./x.py']",
            (
                "listen[0].address",
                '"tcp://1.1.1.1:80=./x.py"',
                '"./x.py" after "=" is no plugin name',
                1,
            ),
        ),
        (
            "listen = ['unix:/a', 'unix:/a=echo']",
            ("listen[1]", '"unix:/a=echo"', "same address as listen[0]", 1),
        ),
        (
            "[[listen]]\naddress = 'unix:/a'\n[[listen]]\nplugin = 'echo'",
            ("listen[1].address", "", "missing, expected string", 3),
        ),
        (
            "[[listen]]\naddress = 'unix:/a'\nmode = 660",
            ("listen[0].mode", "660", 'expected file mode up to 0o777, such as 0o660 or "0660"', 3),
        ),
        (
            "[[listen]]\naddress = 'unix:/a'\nbaklog = 3",
            ("listen[0].baklog", "3", 'unknown key, did you mean "backlog"?', 3),
        ),
        (
            "[limits]\nidle_timeout_seconds = nan",
            ("limits.idle_timeout_seconds", "nan", "expected finite number", 2),
        ),
        (
            "[limits]\nidle_timeout_seconds = -1",
            ("limits.idle_timeout_seconds", "-1", "expected number of at least 0", 2),
        ),
        (
            "[limits]\nidle_timeout_seconds = true",
            ("limits.idle_timeout_seconds", "true", "expected number of at least 0", 2),
        ),
        (
            "[connection]\nwrite_timeout_seconds = inf",
            ("connection.write_timeout_seconds", "inf", "expected finite number", 2),
        ),
        (
            "[connection]\nwrite_timeout_seconds = 0",
            ("connection.write_timeout_seconds", "0", "expected number above 0", 2),
        ),
        ("log.level = 'warn'", ("log.level", '"warn"', None, 1)),
        ("limits = 5", ("limits", "5", "expected table", 1)),
        ("options.chat = 5", ("options.chat", "5", "expected table", 1)),
        ("wrokers = 5", ("wrokers", "5", 'unknown key, did you mean "workers"?', 1)),
        ("max_events = 5", ("max_events", "5", "unknown key, belongs in [limits]", 1)),
        (
            "max_event = 5",
            ("max_event", "5", 'unknown key, did you mean "limits.max_events"?', 1),
        ),
        ("[log]\nmax_events = 5", ("log.max_events", "5", "unknown key, belongs in [limits]", 2)),
        (
            "[log]\nworkers = 5",
            ("log.workers", "5", "unknown key, belongs at the top, above the first [section]", 2),
        ),
        ("[log]\nqqq = 5", ("log.qqq", "5", "unknown key, keys here: format, level", 2)),
        ("\n[limit]\nx = 5", ("limit", "", "unknown section, did you mean [limits]?", 2)),
        (
            "[qqq]",
            (
                "qqq",
                "",
                "unknown section, sections: [limits], [connection], [dispatch], [lifecycle],"
                " [breaker], [admin], [log], [profile], [options]",
                1,
            ),
        ),
        ("api_key = 'hunter2'", ("api_key", "**********", None, 1)),
    ],
)
def test_each_mistake_in_a_file(problems, toml, problem):
    key, found, message, line = problem
    ((*actual, text, where),) = problems(toml)
    assert (actual, where) == ([key, found], FILE.format(line))
    if message is not None:
        assert text == message
    assert "pydantic" not in text


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (
            "[connection]\nlow_water_bytes = 300000",
            (
                "connection.low_water_bytes",
                "300000",
                "must not exceed connection.high_water_bytes, which is 262144",
                "from host.toml:2",
            ),
        ),
        (
            "[connection]\nhigh_water_bytes = 1000",
            (
                "connection.low_water_bytes",
                "65536",
                "must not exceed connection.high_water_bytes, which is 1000",
                "default, connection.high_water_bytes from host.toml:2",
            ),
        ),
        (
            "[connection]\nmax_unsent_bytes = 100000",
            (
                "connection.max_unsent_bytes",
                "100000",
                "must not be below connection.high_water_bytes, which is 262144",
                "from host.toml:2",
            ),
        ),
    ],
)
def test_marks_must_fit_each_other(problems, toml, expected):
    assert problems(toml) == [expected]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PREFORK_WORKERS", "four", ("workers", '"four"', "expected integer from 1 to 1024")),
        ("PREFORK_WORKERS", "true", ("workers", '"true"', "expected integer from 1 to 1024")),
        ("PREFORK_WORKERS", "", ("workers", '""', "expected integer from 1 to 1024")),
        ("PREFORK_RESPAWN", "maybe", ("respawn", '"maybe"', "expected true or false")),
        ("PREFORK_PLUGINS", '["a"', ("plugins", '"[\\"a\\""', "expected list")),
        (
            "PREFORK_WORKRS",
            "4",
            ("workrs", '"4"', "unknown variable, did you mean PREFORK_WORKERS?"),
        ),
        (
            "PREFORK_workers",
            "4",
            ("workers", '"4"', "unknown variable, did you mean PREFORK_WORKERS?"),
        ),
        ("PREFORK_CONFG", "x", ("confg", '"x"', "unknown variable, did you mean PREFORK_CONFIG?")),
        (
            "PREFORK_MAX_EVENTS",
            "4",
            ("max_events", '"4"', "unknown variable, did you mean PREFORK_LIMITS__MAX_EVENTS?"),
        ),
        (
            "PREFORK_LIMITS_MAX_EVENTS",
            "4",
            (
                "limits_max_events",
                '"4"',
                "unknown variable, did you mean PREFORK_LIMITS__MAX_EVENTS?",
            ),
        ),
        ("PREFORK_QQQQ", "4", ("qqqq", '"4"', "unknown variable")),
        ("PREFORK_HANDOVER", "4", ("handover", '"4"', "unknown variable")),
        (
            "PREFORK_LIMITS",
            "4",
            ("limits", '"4"', "sections are set key by key: PREFORK_LIMITS__KEY"),
        ),
        (
            "PREFORK_OPTIONS__CHAT",
            "4",
            ("options.chat", '"4"', "options are set one by one: PREFORK_OPTIONS__PLUGIN__KEY"),
        ),
        ("PREFORK_DB_PASSWORD", "hunter2", ("db_password", "**********", "unknown variable")),
    ],
)
def test_each_mistake_in_a_variable(problems, name, value, problem):
    assert problems(environ={name: value}) == [(*problem, f"from {name} (environment)")]


def test_a_variable_inside_another(problems):
    environ = {"PREFORK_OPTIONS__CHAT__A": "1", "PREFORK_OPTIONS__CHAT__A__B": "2"}
    assert problems(environ=environ) == [
        (
            "options.chat.a.b",
            "",
            "PREFORK_OPTIONS__CHAT__A already sets what this is a part of",
            "from PREFORK_OPTIONS__CHAT__A__B (environment)",
        )
    ]


def test_mistakes_in_flags_name_the_flag_but_not_its_value(problems):
    flags = {
        "workers": ("many", "--workers"),
        "limits.max_event": ("5", "--set limits.max_event=5"),
        "my_token": ("hunter2", "--set my_token=hunter2"),
    }
    found = problems(flags=flags)
    assert found[0] == (
        "limits.max_event",
        '"5"',
        'unknown key, did you mean "max_events"?',
        "from --set limits.max_event (flag)",
    )
    assert found[1][:2] == ("my_token", "**********")
    assert "hunter2" not in str(found)
    assert found[2][3] == "from --workers (flag)"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b"a = 1\nb ~ 2",
            ("host.toml:2:3", "not TOML: expected '=' after a key in a key/value pair"),
        ),
        (b"a = [1,\n", ("host.toml:2:1", "not TOML: invalid value at the end of the file")),
        (b"a = 1\na = 2\n", ("host.toml:2:6", "not TOML: cannot overwrite a value")),
    ],
)
def test_text_that_is_no_toml(problems, tmp_path, content, problem):
    (tmp_path / "host.toml").write_bytes(content)
    assert problems(file="host.toml") == [(problem[0], "", problem[1], "")]


def test_files_that_cannot_be_read(problems, tmp_path):
    where = "from --config (flag)"
    assert problems(file="none.toml") == [("none.toml", "", "no such file", where)]
    message = "is a directory, expected a TOML file"
    assert problems(file=tmp_path) == [(str(tmp_path), "", message, where)]
    (tmp_path / "bad.toml").write_bytes(b"a = 1\nb = '\xff'")
    message = "not UTF-8 text: byte 0xff"
    where = "from PREFORK_CONFIG (environment)"
    assert problems(environ={"PREFORK_CONFIG": "bad.toml"}) == [("bad.toml:2", "", message, where)]
    ((_, _, message, _),) = problems(file="a\0b")
    assert message == "cannot be read: embedded null byte"
    (tmp_path / "loop").symlink_to("loop")
    ((_, _, message, _),) = problems(file="loop")
    assert message == "cannot be read: too many levels of symbolic links"


def test_unknown_presets(problems):
    assert problems(preset="ecko") == [
        (
            "preset",
            '"ecko"',
            'no such preset, did you mean "echo"?  presets: echo, everything',
            "from --preset (flag)",
        )
    ]
    assert problems(environ={"PREFORK_PRESET": "../x"}) == [
        (
            "preset",
            '"../x"',
            "no such preset  presets: echo, everything",
            "from PREFORK_PRESET (environment)",
        )
    ]


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


@pytest.mark.parametrize("name", ["password", "db_Password", "client_secret", "api_key", "KEY"])
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["keyboard", "monkey", "history", "keystone"])
def test_names_of_no_secrets(name):
    assert not is_secret_name(name)


def test_values_are_shown_as_in_a_file():
    assert show([True, "é", 1.5, {"a": "hunter2"}, {}]) == '[true, "é", 1.5, {...}, {}]'
    assert show("x" * 100) == '"' + "x" * 56 + "..."


def test_nearest():
    assert nearest("histroy", ["history", "rooms"]) == "history"
    assert nearest("HISTORY", ["history", "rooms"]) == "history"
    assert nearest("zzz", ["history", "rooms"]) is None
    assert nearest("x", []) is None

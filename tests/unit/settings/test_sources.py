"""What the operator reads about mistakes in variables, flags, files and names of presets."""

import pytest


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PREFORK_WORKERS", "four", ("workers", '"four"', "expected integer from 1 to 1024")),
        ("PREFORK_WORKERS", "true", ("workers", '"true"', "expected integer from 1 to 1024")),
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
        (
            "PREFORK_PORT",
            "8000",
            (
                "port",
                '"8000"',
                "unknown variable, an address is set with PREFORK_LISTEN=tcp://127.0.0.1:8000"
                " (--listen)",
            ),
        ),
        ("PREFORK_LISTEN", "unix:/x/\udcff", ("listen", "", "is not UTF-8 text")),
        ("PREFORK_LOG__LEVEL", "\udcff", ("log.level", "", "is not UTF-8 text")),
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
            (
                "options.chat",
                "**********",
                "options are set one by one: PREFORK_OPTIONS__PLUGIN__KEY",
            ),
        ),
        ("PREFORK_DB_SECRET", "hunter2", ("db_secret", "**********", "unknown variable")),
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


def test_a_byte_order_mark_is_passed_over(problems, tmp_path):
    (tmp_path / "host.toml").write_bytes(b"\xef\xbb\xbfworkers = 2\nwrokers = 3\n")
    [(place, key, _, _)] = problems(file="host.toml")
    assert (place, key) == ("wrokers", "3")


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"x = {'[' * 5_000}{']' * 5_000}", "is nested too deeply"),
        (f"x = {'{a = ' * 5_000}1{'}' * 5_000}", "is nested too deeply"),
        (f"{'.'.join(['a'] * 500)} = 1", "is nested too deeply"),
        (f"workers = {'9' * 5_000}", "cannot be read: Exceeds the limit"),
        ("#" * 1_048_577, "cannot be read: it is larger than 1 MiB"),
    ],
)
def test_what_no_settings_are_like(problems, tmp_path, text, message):
    (tmp_path / "odd.toml").write_text(text)
    ((key, _, said, where),) = problems(file="odd.toml")
    assert (key, where) == ("odd.toml", "from --config (flag)")
    assert said.startswith(message)


def test_a_long_list_is_read_in_a_time_that_goes_by_its_length(load):
    listen = ", ".join(f'"unix:/{number}"' for number in range(5_000))
    loaded = load(f"listen = [\n{listen}]\nplugins = ['echo']\n")
    assert str(loaded.origin("listen[4999].address")) == "host.toml:2"


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

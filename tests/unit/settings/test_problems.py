"""What the operator reads about each mistake in a file."""

import pytest

from host.settings import problems as module
from host.settings.suggestions import nearest

FILE = "from host.toml:{}"


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
        ("options.chat = 'hunter2'", ("options.chat", "**********", "expected table", 1)),
        ("options.chat = ['hunter2']", ("options.chat", "**********", "expected table", 1)),
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
        (
            "[log]\nqqq = 5",
            ("log.qqq", "5", "unknown key, keys here: format, level, file, access", 2),
        ),
        (
            "[pools.x]\nprocess = 5",  # and not "log.access", which is as like it as not
            (
                "pools.x.process",
                "5",
                "unknown key, keys here: kind, size, nice, only_idle_cpu, busy_poll_us,"
                " max_queued, timeout_seconds, max_tasks_per_process, max_memory_bytes, preload",
                2,
            ),
        ),
        ("[tls]\nkey = 5", ("tls.key", "**********", "expected table, as [tls.NAME]", 2)),
        ("\n[limit]\nx = 5", ("limit", "", "unknown section, did you mean [limits]?", 2)),
        (
            "[qqq]",
            (
                "qqq",
                "",
                "unknown section, sections: [limits], [connection], [dispatch], [process],"
                " [lifecycle], [breaker], [admin], [log], [ops], [bus], [metrics], [profile],"
                " [tls], [pools], [options]",
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


def test_of_very_many_unknown_keys_the_first_have_a_guess(problems, monkeypatch):
    asked = []

    def counted(word, *given):
        asked.append(word)
        return nearest(word, *given)

    monkeypatch.setattr(module, "nearest", counted)
    found = problems("\n".join(f"wrokers{number} = 'hunter2'" for number in range(3000)))
    assert [each[0] for each in found] == [f"wrokers{number}" for number in range(3000)]
    assert len(asked) <= 500
    assert found[0][2] == 'unknown key, did you mean "workers"?'
    # Whether it may be a secret that was misspelt is a guess, too.
    assert found[-1][1:] == ("**********", "unknown key", FILE.format(3000))

"""What `new-plugin` writes can be installed, passes its tests, and is listed."""

import json

import pytest

from support.venvs import Environment

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with one new plugin of each kind."""
    made = Environment(tmp_path_factory.mktemp("new"))
    made.install(made.folder / "prefork", "pytest")
    offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    made.run("-m", "host", "new-plugin", "shout_out", **offline)
    made.run("-m", "host", "new-plugin", "pick", "--kind", "scheduler", "--into", "deep/er")
    made.run("-m", "host", "new-plugin", "call_out", "--kind", "asyncio")
    made.install(
        made.folder / "prefork-shout-out",
        made.folder / "prefork-call-out",
        made.folder / "deep" / "er" / "prefork-pick",
    )
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder", ["prefork-shout-out", "prefork-call-out", "deep/er/prefork-pick"]
)
def test_its_tests_pass(installed, folder):
    done = installed.run("-m", "pytest", "-q", cwd=installed.folder / folder)
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_it_is_listed(installed):
    entries = json.loads(installed.run("-m", "host", "plugins", "--json").stdout)
    found = {entry["name"]: entry for entry in entries}
    assert found["shout_out"]["implements"] == ["on_accept", "on_readable", "on_drain"]
    assert found["shout_out"]["distribution"] == "prefork-shout-out"
    assert "on_readable" in found["call_out"]["implements"]
    assert found["pick"]["implements"] == ["choose_worker"]
    assert found["pick"]["error"] is None


@pytest.mark.parametrize("name", ["shout_out", "call_out", "pick"])
def test_the_doctor_finds_nothing(installed, name):
    done = installed.run("-m", "host", "plugins", "doctor", "--strict", name)
    assert done.stdout.endswith(": ok\n")


def test_the_doctor_finds_nothing_in_the_file_either(installed):
    folder = installed.folder / "prefork-shout-out"
    file = "./prefork_shout_out.py"
    done = installed.run("-m", "host", "plugins", "doctor", "--strict", file, cwd=folder)
    assert done.stdout.endswith(": ok\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shout_out"], 'a plugin named "shout_out" is installed already by prefork-shout-out'),
        (["Shout"], '"Shout" cannot be the name of a plugin: use small letters'),
        (["import"], '"import" cannot be the name of a plugin: it is a word of Python'),
        (["other", "--into", "/proc/nowhere"], "cannot write /proc/nowhere"),
    ],
)
def test_one_message_says_what_is_wrong(installed, arguments, message):
    done = installed.run("-m", "host", "new-plugin", *arguments, code=2)
    assert done.stdout == ""
    assert done.stderr.startswith(f"host: {message}")
    assert done.stderr.count("\n") == 1

"""The command `plugins` lists them, and shows in which order they are called."""

import json

import pytest
from click.testing import CliRunner

from host.cli.main import main
from host.errors import ExitCode
from support.plugin_files import write

WATCHER = """
from host import hookimpl

host_plugin = {declared}

@hookimpl{mark}
def on_accept(connection): {body}
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("guard.py", WATCHER.format(declared={"before": ["echo"]}, mark="", body="..."))
    write("around.py", WATCHER.format(declared={}, mark="(wrapper=True)", body="yield"))


def order(*args):
    found = CliRunner().invoke(main, ["plugins", "order", *args])
    assert found.exit_code == 0, found.output
    return found.output


def test_order_of_a_hook_that_listeners_hear_is_shown_for_each_protocol():
    selected = ("--plugin", "echo", "--plugin", "chat", "--plugin", "./guard.py")
    said = order("on_accept", *selected, "--plugin", "./around.py")
    assert said.splitlines() == [
        "on_accept, for the listeners of echo:",
        "   PLUGIN  MARKED   DECLARES",
        "1  around  wrapper  -",
        "2  guard   -        before echo",
        "",
        "on_accept, for the listeners of chat:",
        "   PLUGIN  MARKED   DECLARES",
        "1  around  wrapper  -",
        "2  chat    -        -",
        "3  guard   -        before echo",
    ]


def test_order_as_json():
    [found] = json.loads(order("choose_worker", "--plugin", "weighted", "--json"))
    assert found["protocol"] is None
    assert [(each["plugin"], each["trylast"]) for each in found["calls"]] == [
        ("weighted", False),
        ("round_robin", True),
    ]
    assert found["calls"][0]["declares"] == {"after": [], "before": [], "requires": []}


def test_order_of_a_hook_that_a_plugin_brings():
    assert "of which the plugin that brings it" in order("on_line", "--plugin", "line")


def test_order_of_a_hook_that_nobody_has():
    assert order("on_child_exit") == "on_child_exit: no selected plugin has it\n"


@pytest.mark.parametrize(
    ("args", "wrong"),
    [
        (["order", "on_acept"], 'no hook is named "on_acept"; did you mean "on_accept"?'),
        (["order", "on_accept"], "on_accept is called for listeners, and no protocol is selected"),
        (["oder"], 'there is no command "oder"; did you mean "order"?'),
        (["--plugin", "echo", "order", "on_accept"], "flags come after the command: plugins order"),
    ],
)
def test_what_is_typed_wrong_is_told(args, wrong):
    found = CliRunner().invoke(main, ["plugins", *args])
    assert found.exit_code == ExitCode.USAGE
    assert wrong in found.output


def test_the_list_shows_what_is_declared():
    found = CliRunner().invoke(main, ["plugins", "--plugin", "./guard.py"])
    [line] = [each for each in found.output.splitlines() if each.startswith("guard ")]
    assert line.endswith("  before echo")

"""Each hook has a row in the table, and the manual and the host agree with the row."""

import ast
from pathlib import Path

import pytest

import host
from host.hookspecs import ROWS, TABLE, Audience, Process
from host.ipc.current_call import CALLBACK
from host.plugin.binding import HOOKS, ListenerHooks
from host.plugin.loading import load
from host.settings import Loaded, Settings
from host.testing import Harness
from support.manual import doc_of, generate

EVERYWHERE = [row for row in TABLE if row.audience is Audience.EVERY]
OF_A_LISTENER = [row for row in TABLE if row.audience in (Audience.LISTENER, Audience.PROTOCOL)]
FOLDERS = {Process.SUPERVISOR: "supervisor", Process.WORKER: "worker"}

NUMBERS = {
    "on_readable": 1,
    "on_accept": 2,
    "on_close": 3,
    "on_drain": 4,
    "on_worker_start": 5,
    "on_worker_stop": 6,
    "on_datagram": 8,
    "on_tls": 10,
}
"""What releases have written into the scoreboard; a new hook gets a new number."""

NOT_IN_THE_HARNESS = {
    "on_child_exit": "the harness has no processes",
    "choose_worker": "the test says which worker gets a connection",
}


def by_name(row):
    return row.name


def test_each_specification_has_a_row_in_the_same_order():
    assert list(ROWS) == list(HOOKS)
    assert len(ROWS) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=by_name)
class TestManual:
    def test_names_the_process_that_calls_it(self, row):
        assert doc_of(row.name).parts["Runs in"].startswith(row.process.value)

    def test_says_who_hears_it(self, row):
        assert row.audience.value in " ".join(doc_of(row.name).parts["Calls"].split())

    def test_says_whether_a_plugin_is_left_out_of_it(self, row):
        said = " ".join(doc_of(row.name).parts["Fails"].split())
        assert ("is left out for a while" in said) is row.guarded

    def test_has_a_line_in_the_table_of_the_page(self, row):
        [line] = [each for each in generate.hooks().splitlines() if f"(#{row.name})" in each]
        assert line.endswith(
            f"| {row.process.value} | {row.audience.value} | {'yes' if row.guarded else 'no'} |"
        )


def test_what_a_worker_calls_has_a_number_of_its_own():
    numbers = {row.name: row.call_number for row in TABLE if row.process is Process.WORKER}
    assert None not in numbers.values()
    assert all(0 < number < 256 for number in numbers.values())
    assert len({*numbers.values(), CALLBACK}) == len(numbers) + 1
    assert numbers | NUMBERS == numbers


def test_what_the_supervisor_calls_has_no_number_and_no_turn_of_a_worker():
    rows = [row for row in TABLE if row.process is Process.SUPERVISOR]
    assert {(row.call_number, row.in_turn) for row in rows} == {(None, True)}


def test_the_hooks_of_a_listener_are_bound_for_each_listener():
    bound = set(ListenerHooks._fields) - {"blame"}
    assert bound == {row.name for row in OF_A_LISTENER}


def test_the_hooks_of_every_plugin_are_bound_once_for_all():
    registry = load(Loaded(Settings(plugins=("echo",))))
    bound = registry.host_hooks(print).bound
    assert list(bound) == [row.specification for row in EVERYWHERE]


def names_of_first_arguments(process, function):
    """Return the last word of the first argument of each call of `function` in a package."""
    found = set()
    for file in (Path(host.__file__).parent / FOLDERS[process]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and last_word(node.func) == function:
                found.add(last_word(node.args[0]))
    return found


def last_word(node):
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


@pytest.mark.parametrize("row", EVERYWHERE, ids=by_name)
def test_a_hook_of_every_plugin_is_told_where_it_says(row):
    assert row.name in names_of_first_arguments(row.process, "tell")
    others = set(Process) - {row.process}
    assert not any(row.name in names_of_first_arguments(other, "tell") for other in others)


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.process is Process.WORKER], ids=by_name
)
def test_a_worker_says_in_the_scoreboard_that_it_calls_it(row):
    assert row.name in names_of_first_arguments(row.process, "kind_of")


def test_the_harness_calls_every_hook_that_it_can(tmp_path):
    file = tmp_path / "watcher.py"
    file.write_text(
        "from host import hookimpl\n\ncalled = set()\n"
        + "".join(
            f"\n\n@hookimpl\ndef {name}({', '.join(arguments)}):\n    called.add({name!r})\n"
            + ("    connection.read()\n" if name == "on_readable" else "")
            for name, arguments in HOOKS.items()
        )
    )
    with Harness(str(file)) as harness:
        watcher = harness.plugin("watcher")
        connection = harness.connect()
        connection.feed(b"hello")
        connection.start_tls("public")
        connection.shake_hands()
        harness.datagram(b"hello")
    assert watcher.called == set(HOOKS) - set(NOT_IN_THE_HARNESS)

"""Annotations that contradict the specification are found, and functions that look like hooks."""

import pytest

from host.doctor.signatures import OF_OTHERS, check_lookalikes, check_signatures
from host.plugin.binding import HOOKS


def codes(findings):
    return [each.code for each in findings]


@pytest.mark.parametrize(
    "annotation",
    [
        *("Connection", "'Connection'", "host.Connection", "object", "typing.Any"),
        *("Connection | None", "typing.Optional[Connection]", "'Connection | Other'"),
        *("Other", "Own", "Unknown.known", "T", "'not python('"),
    ],
)
def test_an_annotation_that_may_be_meant_is_left_alone(plugin, annotation):
    head = "import host, typing\nfrom elsewhere import Other, T\nclass Own: ...\n"
    hook = f"@hookimpl\ndef on_accept(connection: {annotation}) -> None: ..."
    assert codes(check_signatures(plugin(head + hook))) == []


@pytest.mark.parametrize(
    ("hook", "annotation"),
    [
        ("on_accept", "connection: Worker"),
        ("on_accept", "connection: 'Worker'"),
        ("on_accept", "connection: bytes"),
        ("on_accept", "connection: int | str"),
        ("on_accept", "connection: dict[str, Connection]"),
        ("on_drain", "deadline: int"),
        ("choose_worker", "workers: WorkerView"),
        ("choose_worker", "workers: dict[int, WorkerView]"),
    ],
)
def test_an_annotation_that_contradicts_the_specification(plugin, hook, annotation):
    [finding] = check_signatures(plugin(f"@hookimpl\ndef {hook}({annotation}): ..."))
    assert finding.code == "wrong-annotation"
    assert finding.place == "plugin.py:3"
    assert annotation.partition(": ")[2] in finding.message


@pytest.mark.parametrize("kind", ["Sequence", "Iterable", "Collection"])
def test_a_collection_of_candidates_may_be_called_what_it_is(plugin, kind):
    head = "from collections.abc import Collection, Iterable, Sequence\n"
    hook = f"@hookimpl\ndef choose_worker(workers: {kind}[WorkerView]) -> WorkerView | None: ..."
    assert codes(check_signatures(plugin(head + hook))) == []


@pytest.mark.parametrize(
    ("hook", "answer", "expected"),
    [
        ("on_accept", "None", []),
        ("on_accept", "bool", ["ignored-answer"]),
        ("on_accept", "bytes | None", ["ignored-answer"]),
        ("choose_worker", "WorkerView", []),
        ("choose_worker", "'WorkerView | None'", []),
        ("choose_worker", "int", ["wrong-annotation"]),
        ("on_line", "bytes", []),
    ],
)
def test_what_a_hook_returns(plugin, hook, answer, expected):
    source = plugin(f"@hookimpl\ndef {hook}() -> {answer}: ...")
    assert codes(check_signatures(source)) == expected


def test_a_wrapper_returns_a_generator(plugin):
    hook = "@hookimpl(wrapper=True)\ndef on_accept() -> Generator: yield"
    assert codes(check_signatures(plugin(hook))) == []


def test_hooks_of_other_frameworks_stand_for_hooks_that_there_are():
    assert set(OF_OTHERS.values()) <= HOOKS.keys()


CLASS = """
{head}
class Plugin{base}:
    @hookimpl
    def on_readable(self, connection): connection.read()
    {decorator}
    def {name}(self): ...
{rest}
"""


def lookalikes(plugin, name, head="", base="", decorator="", rest=""):
    text = CLASS.format(name=name, head=head, base=base, decorator=decorator, rest=rest)
    return codes(check_lookalikes(plugin(text)))


@pytest.mark.parametrize("name", ["on_data", "on_connect", "choose", "data_received", "handle"])
def test_a_function_that_nobody_calls_and_that_looks_like_a_hook(plugin, name):
    expected = [] if name == "choose" else ["looks-like-hook"]
    assert lookalikes(plugin, name) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"rest": "    def on_close(self): self.on_data()"},
        {"rest": "CALLED = 'on_data'"},
        {"decorator": "@property"},
        {"base": "(Elsewhere)", "head": "from elsewhere import Elsewhere"},
    ],
)
def test_a_function_that_somebody_may_call_is_left_alone(plugin, more):
    assert lookalikes(plugin, "on_data", **more) == []


@pytest.mark.parametrize(("other", "count"), [("def f(p): p.on_data()", 0), ("on_database = 1", 1)])
def test_a_function_that_another_module_of_the_package_calls_is_left_alone(package, other, count):
    text = "class P:\n    @hookimpl\n    def on_close(self): ...\n    def on_data(self): ...\n"
    source = package("sample_doctored.plugin:P", plugin=text, other=other)
    assert codes(check_lookalikes(source)) == ["looks-like-hook"] * count


def test_what_the_host_refuses_itself_is_not_told_twice(plugin):
    assert lookalikes(plugin, "on_closed") == []
    assert lookalikes(plugin, "on_close") == []

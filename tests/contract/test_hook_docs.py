"""The hook specifications are the manual: complete, in one form, and their examples run."""

import inspect
import re
from types import ModuleType, SimpleNamespace

import pytest

import host
from host import ChildExit, CloseReason, Listener, hookspecs
from host.plugin.binding import HOOKS, Holder, Manager
from host.plugin.checks import implementations
from host.plugin.discovery import Source
from host.testing import FakeDatagram
from support.manual import doc_of, generate


def test_the_public_names_are_these():
    assert host.__all__ == [
        "BUS_LEFT",
        "BUS_LOST",
        "BUS_TAKEN",
        "Bus",
        "ChildExit",
        "CloseReason",
        "Connection",
        "ConnectionOrigin",
        "Counter",
        "Datagram",
        "Gauge",
        "Histogram",
        "Host",
        "Listener",
        "Message",
        "Metrics",
        "PicklingError",
        "PluginError",
        "Pool",
        "PoolError",
        "PoolFullError",
        "ProxyHeader",
        "ProxyTls",
        "RequestLog",
        "Result",
        "Table",
        "TaskCancelledError",
        "TaskLostError",
        "TaskTimeoutError",
        "Timer",
        "TlsInfo",
        "Worker",
        "WorkerView",
        "WouldBlockError",
        "hookimpl",
        "hookspec",
    ]
    assert all(hasattr(host, name) for name in host.__all__)


def test_the_hooks_and_their_arguments_are_these():
    assert dict(HOOKS) == {
        "on_host_start": ("host",),
        "on_worker_start": ("worker",),
        "on_accept": ("connection",),
        "on_readable": ("connection",),
        "on_tls": ("connection",),
        "on_datagram": ("datagram",),
        "on_close": ("connection", "reason"),
        "on_drain": ("connection", "deadline"),
        "on_worker_stop": ("worker",),
        "on_child_exit": ("child",),
        "choose_worker": ("listener", "workers"),
    }


@pytest.mark.parametrize("hook", HOOKS)
class TestDocstring:
    def test_has_the_fixed_parts_in_the_fixed_order(self, hook):
        expected = [
            part for part in generate.PARTS if part != "Returns" or hook.startswith("choose_")
        ]
        assert list(doc_of(hook).parts) == expected
        assert all(doc_of(hook).parts.values())

    def test_begins_with_one_sentence_that_tells_or_asks(self, hook):
        summary = doc_of(hook).summary
        assert summary.startswith("Ask " if hook.startswith("choose_") else "Tell ")
        assert re.findall(r"[.!?](?:\s|$)", summary) == ["."]

    def test_lists_exactly_the_arguments_in_order(self, hook):
        assert tuple(doc_of(hook).args) == HOOKS[hook]

    def test_every_argument_is_annotated(self, hook):
        signature = inspect.signature(getattr(hookspecs, hook))
        assert all(
            parameter.annotation is not parameter.empty
            for parameter in signature.parameters.values()
        )
        assert signature.return_annotation is not signature.empty

    def test_example_registers_and_runs(self, hook):
        module = ModuleType(f"example_{hook}")
        exec(compile(doc_of(hook).parts["Example"], f"<example of {hook}>", "exec"), vars(module))
        found, wrong = implementations(Source("example", module.__name__, ""), module)
        assert wrong == ()
        assert hook in [each.hook for each in found]
        manager = Manager()
        manager.register(Holder(found))
        values = fakes()
        answer = getattr(manager.hook, hook)(**{name: values[name] for name in HOOKS[hook]})
        EFFECTS[hook](vars(module), values, answer)


class FakeConnection:
    def __init__(self):
        self.id, self.data, self.written, self.closed = "c1", None, b"", False

    def read(self):
        return b"abc"

    def write(self, data):
        self.written += bytes(data)

    def close(self):
        self.closed = True


def fakes():
    listener = Listener(0, "tcp://127.0.0.1:7000", "example")
    return {
        "host": SimpleNamespace(listeners=(listener,)),
        "worker": SimpleNamespace(slot=2),
        "connection": FakeConnection(),
        "datagram": FakeDatagram(b"abc"),
        "reason": CloseReason.RESET,
        "deadline": 12.5,
        "child": ChildExit(1, 4711, 0, None, 9, 3.5, was_ready=True, expected=False),
        "listener": listener,
        "workers": tuple(
            SimpleNamespace(slot=slot, active=active, outstanding=1)
            for slot, active in enumerate((3, 1, 2))
        ),
    }


def _told(**expected):
    """Compare names in the example's module with what they must be afterwards."""

    def check(names, values, answer):
        assert {name: names[name] for name in expected} == expected

    return check


def _written(expected, closed=False):
    def check(names, values, answer):
        assert (values["connection"].written, values["connection"].closed) == (expected, closed)

    return check


def _answered(expected):
    def check(names, values, answer):
        assert values["datagram"].replies == [expected]

    return check


def _least_busy(names, values, answer):
    assert answer is values["workers"][1]


EFFECTS = {
    "on_host_start": _told(started=[["tcp://127.0.0.1:7000"]]),
    "on_worker_start": _told(greeting={"text": "served by worker 2"}),
    "on_accept": _written(b"hello\r\n"),
    "on_readable": _written(b"ABC"),
    "on_tls": _written(b"hello again\r\n"),
    "on_datagram": _answered(b"ABC"),
    "on_close": _told(ended=[("c1", CloseReason.RESET)]),
    "on_drain": _written(b"going down, see you soon\r\n", closed=True),
    "on_worker_stop": _told(stopped=[2]),
    "on_child_exit": _told(killed=[(1, 9)]),
    "choose_worker": _least_busy,
}


def test_the_generated_pages_are_up_to_date(capsys):
    assert generate.stale() == [], "run: python docs/generate.py"
    assert generate.main(["--check"]) == 0


def test_a_page_that_is_out_of_date_is_named_and_then_written(tmp_path, capsys):
    (tmp_path / "hooks.md").write_text("old", encoding="utf-8")
    assert generate.main(["--check"], tmp_path) == 1
    assert "docs/hooks.md is out of date" in capsys.readouterr().out
    assert generate.main([], tmp_path) == 0
    assert generate.stale(tmp_path) == []


def test_the_page_describes_every_hook_once():
    page = generate.hooks()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(HOOKS)
